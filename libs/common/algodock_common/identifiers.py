"""Identifiers made in Python: UUIDv7 for rows, DNS labels for names of algorithms."""

from __future__ import annotations

import os
import re
import time
from typing import Annotated
from uuid import UUID

from pydantic import StringConstraints

__all__ = ["DNS_LABEL", "AlgorithmName", "uuid7", "uuid7s"]

DNS_LABEL = re.compile(r"^[a-z0-9](?:[a-z0-9-]{0,61}[a-z0-9])?$")

AlgorithmName = Annotated[str, StringConstraints(pattern=r"^[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?$")]
"""A DNS label (RFC 1123): lower-case letters, digits and inner hyphens, at most 63 characters."""


def uuid7() -> UUID:
    """Return a new UUIDv7 (RFC 9562, section 5.7): Unix milliseconds, their fraction in 1/4096, random bits.

    With the fraction (section 6.2, method 3) what one process makes sorts in the order in which it was made.
    """
    return uuid7s(1)[0]


def uuid7s(count: int) -> list[UUID]:
    """Return ``count`` new UUIDv7 of this moment, in no order among themselves; chance is asked for only once."""
    milliseconds, rest = divmod(time.time_ns(), 1_000_000)
    fraction = (rest << 12) // 1_000_000
    now = milliseconds << 80 | 0x7 << 76 | fraction << 64 | 0x2 << 62
    chance = memoryview(os.urandom(8 * count)).cast("Q")
    return [UUID(int=now | random >> 2) for random in chance]
