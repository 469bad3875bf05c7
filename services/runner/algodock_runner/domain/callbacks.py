"""Callbacks after Standard Webhooks: what is signed, when it is tried again, what an answer means.

Source: https://github.com/standard-webhooks/standard-webhooks/blob/main/spec/standard-webhooks.md
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import hmac
import random
from dataclasses import dataclass
from http import HTTPStatus
from typing import TYPE_CHECKING, Literal

if TYPE_CHECKING:
    from uuid import UUID

__all__ = ["SCHEDULE_S", "Answer", "CallbackState", "Verdict", "signed_headers", "verdict_of", "webhook_id"]

CallbackState = Literal["pending", "delivered", "failed", "disabled"]

SCHEDULE_S: tuple[float, ...] = (0, 5, 300, 1800, 7200, 18_000, 36_000)
"""Seconds to wait before each attempt, from the one before it (the first: from the task's end)."""

JITTER = 0.2
LONGEST_RETRY_AFTER_S = 86_400.0
SECRET_PREFIX = "whsec_"  # noqa: S105  # a prefix, no secret


@dataclass(frozen=True, slots=True)
class Answer:
    """What became of one delivery: a status, or the error that there was instead."""

    status: int | None
    error: str = ""
    retry_after_s: float | None = None


@dataclass(frozen=True, slots=True)
class Verdict:
    """How the callback stands after a delivery; ``wait_s`` until the next one while it is pending."""

    state: CallbackState
    wait_s: float = 0.0


def webhook_id(task_id: UUID) -> str:
    """Return the callback's id: the same at every attempt, so that a receiver can tell repetitions."""
    return f"msg_{task_id.hex}"


def signed_headers(secret: str, message_id: str, timestamp: int, body: bytes) -> dict[str, str]:
    """Return the three headers; ``timestamp`` is in Unix seconds.

    Raises:
        ValueError: ``secret`` is no ``whsec_`` and base64.
    """
    try:
        key = base64.b64decode(secret.removeprefix(SECRET_PREFIX), validate=True)
    except binascii.Error as error:
        msg = "the callback secret is not base64"
        raise ValueError(msg) from error
    if not key:
        msg = "the callback secret is empty"
        raise ValueError(msg)
    signature = hmac.digest(key, f"{message_id}.{timestamp}.".encode() + body, hashlib.sha256)
    return {
        "webhook-id": message_id,
        "webhook-timestamp": str(timestamp),
        "webhook-signature": f"v1,{base64.b64encode(signature).decode()}",
    }


def verdict_of(answer: Answer, attempts: int) -> Verdict:
    """Decide after delivery number ``attempts`` (from 1): only 2xx is success, 410 means never again."""
    if answer.status is not None and HTTPStatus.OK <= answer.status < HTTPStatus.MULTIPLE_CHOICES:
        return Verdict("delivered")
    if answer.status == HTTPStatus.GONE:
        return Verdict("disabled")
    if attempts >= len(SCHEDULE_S):
        return Verdict("failed")
    wait_s = SCHEDULE_S[attempts] * random.uniform(1, 1 + JITTER)  # noqa: S311  # jitter needs no cryptography
    asked_s = min(answer.retry_after_s or 0.0, LONGEST_RETRY_AFTER_S)
    return Verdict("pending", max(wait_s, asked_s))
