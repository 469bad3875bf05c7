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
    from collections.abc import Sequence
    from uuid import UUID

__all__ = [
    "SCHEDULE_S",
    "Answer",
    "CallbackState",
    "Delivery",
    "Verdict",
    "signed_headers",
    "verdict_of",
    "webhook_id",
]

CallbackState = Literal["pending", "delivered", "failed", "disabled"]

SCHEDULE_S: tuple[float, ...] = (0, 5, 300, 1800, 7200, 18_000, 36_000)
"""Seconds to wait before each attempt, from the one before it (the first: from the task's end)."""

JITTER = 0.2
LONGEST_RETRY_AFTER_S = 86_400.0
SECRET_PREFIX = "whsec_"  # noqa: S105  # a prefix, no secret


@dataclass(frozen=True, slots=True)
class Answer:
    """What a receiver made of one delivery: a status, or the error that there was instead.

    ``said`` is the beginning of its answer.
    """

    status: int | None
    error: str = ""
    retry_after_s: float | None = None
    said: str = ""


@dataclass(frozen=True, slots=True)
class Verdict:
    """How the callback stands after a delivery; ``wait_s`` until the next one while it is pending."""

    state: CallbackState
    wait_s: float = 0.0


@dataclass(frozen=True, slots=True)
class Delivery:
    """One delivery to write down. ``spent`` False: it could not be tried for a reason of our own.

    ``began_s`` is the monotonic clock's.
    """

    task_id: UUID
    attempts: int
    began_s: float
    took_s: float
    answer: Answer
    verdict: Verdict
    spent: bool = True


def webhook_id(task_id: UUID) -> str:
    """Return the callback's id: the same at every attempt, so that a receiver can tell repetitions."""
    return f"msg_{task_id.hex}"


def signed_headers(secrets: Sequence[str], message_id: str, timestamp: int, body: bytes) -> dict[str, str]:
    """Return the three headers, with a signature by each of ``secrets``; ``timestamp`` is in Unix seconds.

    While a secret is rotated two are valid: a receiver that has either of them accepts the callback.

    Raises:
        ValueError: there is no secret, or one is no ``whsec_`` and base64.
    """
    if not secrets:
        msg = "there is no callback secret to sign with"
        raise ValueError(msg)
    signed = f"{message_id}.{timestamp}.".encode() + body
    signatures = [hmac.digest(_key_of(secret), signed, hashlib.sha256) for secret in secrets]
    return {
        "webhook-id": message_id,
        "webhook-timestamp": str(timestamp),
        "webhook-signature": " ".join(f"v1,{base64.b64encode(one).decode()}" for one in signatures),
    }


def _key_of(secret: str) -> bytes:
    try:
        key = base64.b64decode(secret.removeprefix(SECRET_PREFIX), validate=True)
    except binascii.Error as error:
        msg = "the callback secret is not base64"
        raise ValueError(msg) from error
    if not key:
        msg = "the callback secret is empty"
        raise ValueError(msg)
    return key


def verdict_of(answer: Answer, attempts: int) -> Verdict:
    """Decide after delivery number ``attempts`` of a round (from 1): only 2xx is success, 410 means never again.

    The first round begins with the task's end, another with each redelivery that somebody asks for.
    """
    if answer.status is not None and HTTPStatus.OK <= answer.status < HTTPStatus.MULTIPLE_CHOICES:
        return Verdict("delivered")
    if answer.status == HTTPStatus.GONE:
        return Verdict("disabled")
    if attempts >= len(SCHEDULE_S):
        return Verdict("failed")
    wait_s = SCHEDULE_S[attempts] * random.uniform(1, 1 + JITTER)  # noqa: S311  # jitter needs no cryptography
    asked_s = min(answer.retry_after_s or 0.0, LONGEST_RETRY_AFTER_S)
    return Verdict("pending", max(wait_s, asked_s))
