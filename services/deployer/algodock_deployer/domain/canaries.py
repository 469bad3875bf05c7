"""How many of a service's calls a canary gets, as weights of instances."""

from __future__ import annotations

from collections.abc import Sequence
from math import gcd
from uuid import UUID

__all__ = ["WITHDRAWN", "even", "shares"]

WITHDRAWN = "withdrawn: "
"""How the reason of a canary begins that did not do its work."""


def shares(live: Sequence[UUID], canary: Sequence[UUID], percent: int) -> dict[UUID, int]:
    """Return weights with which ``canary`` gets ``percent`` of the calls, and ``live`` the others, each evenly."""
    rest, part = (100 - percent) * len(canary), percent * len(live)
    by = gcd(rest, part) or 1
    return dict.fromkeys(live, rest // by) | dict.fromkeys(canary, part // by)


def even(instances: Sequence[UUID]) -> dict[UUID, int]:
    """Return weights with which all get the same."""
    return dict.fromkeys(instances, 1)
