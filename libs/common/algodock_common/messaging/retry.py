"""What a consumer retries, how often and how long it waits in between."""

from __future__ import annotations

import random
from dataclasses import dataclass

from algodock_common.errors import AlgoDockError
from algodock_common.outages import is_infrastructure, is_shortage

__all__ = ["RetryPolicy", "is_retryable"]


@dataclass(frozen=True, slots=True)
class RetryPolicy:
    """Exponential backoff with full jitter: at most ``attempts``, waits in seconds.

    A database or peer that is away is nobody's fault and every neighbour's, too: it is retried
    without a limit, because a dead letter would only move the loss.
    """

    attempts: int = 8
    first_wait_s: float = 0.1
    longest_wait_s: float = 5.0

    def wait_s(self, attempt: int) -> float:
        """Return how long to wait after failed attempt number ``attempt`` (from 1)."""
        ceiling = min(self.longest_wait_s, self.first_wait_s * 2 ** min(attempt - 1, 16))
        return random.uniform(ceiling / 2, ceiling)  # noqa: S311  # jitter needs no cryptography


def is_retryable(error: BaseException) -> bool:
    """Return whether the same message may succeed when it is handled again."""
    if isinstance(error, AlgoDockError):
        return error.retryable
    return is_infrastructure(error) or is_shortage(error)
