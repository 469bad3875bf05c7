"""What a failed attempt leads to: another one after a wait, or the task's end; by the kind of failure."""

from __future__ import annotations

import random
from dataclasses import dataclass
from enum import Enum
from http import HTTPStatus
from typing import TYPE_CHECKING

from algodock_common.events import TaskError

if TYPE_CHECKING:
    from algodock_common.events import TaskState

__all__ = [
    "CONNECTION_LOST",
    "LOST_LEASES_ALLOWED",
    "Again",
    "Ended",
    "Failure",
    "Kind",
    "after_failure",
    "backoff_s",
    "failure_of_status",
    "replaced",
    "task_error",
]

FIRST_WAIT_S = 1.0
LONGEST_WAIT_S = 60.0
CONNECTION_LOST = "ConnectionLost"
UNNAMED_500 = "HTTP 500"
"""The type of the error that an answer other than 2xx is, when the answer itself names none."""
LOST_LEASES_ALLOWED = 10
"""How often a task may lose its worker before it fails: something about it may be what kills them."""

_TRY_AGAIN = frozenset(
    {
        HTTPStatus.REQUEST_TIMEOUT,
        HTTPStatus.TOO_EARLY,
        HTTPStatus.TOO_MANY_REQUESTS,
        HTTPStatus.BAD_GATEWAY,
        HTTPStatus.SERVICE_UNAVAILABLE,
        HTTPStatus.GATEWAY_TIMEOUT,
    }
)


class Kind(Enum):
    """What a failure says about trying again."""

    TRANSIENT = "transient"
    """The attempt is spent, another may succeed: connection lost, timeout, 502, 503, 504."""
    PERMANENT = "permanent"
    """The same input would fail again: wrong input, an exception in the algorithm, an answer too large."""
    NOT_STARTED = "not started"
    """Nothing reached the algorithm, or the platform itself failed: the attempt is not spent."""


@dataclass(frozen=True, slots=True)
class Failure:
    """Why one attempt did not succeed. ``retry_after_s``: what the algorithm asked to wait."""

    kind: Kind
    error: TaskError
    retry_after_s: float | None = None


@dataclass(frozen=True, slots=True)
class Again:
    """Put the task back into the queue after a wait; ``spent`` says whether the attempt counts."""

    wait_s: float
    spent: bool
    error: TaskError


@dataclass(frozen=True, slots=True)
class Ended:
    """The task's end."""

    state: TaskState
    error: TaskError | None


def task_error(kind: str, message: str, status: int | None = None) -> TaskError:
    """Return an error whose texts can be stored and sent, whatever an algorithm put into them."""
    return TaskError(type=_storable(kind, 200), message=_storable(message, 4000), status=status)


def _storable(text: str, longest: int) -> str:
    return text[:longest].encode(errors="replace").decode().replace("\0", "\ufffd")


def failure_of_status(status: int, error: TaskError, retry_after_s: float | None = None) -> Failure:
    """Return the failure that an answer other than 2xx is.

    What may pass (502, 503, 504, and the three of 4xx that mean "later": 408, 425, 429) is tried
    again; every other 4xx and a 500 would be answered the same way again.
    """
    kind = Kind.TRANSIENT if status in _TRY_AGAIN else Kind.PERMANENT
    return Failure(kind, error, retry_after_s)


def replaced(failure: Failure) -> Failure:
    """Return the failure of a call whose instance was being taken out of service.

    If it broke then, or was answered with a 500 that names no error (what a server says of calls that
    it cuts off when it is ended), the platform ended the process: the attempt is not spent. Another
    instance decides whether the 500 was the algorithm's own.
    """
    if failure.error.type in {CONNECTION_LOST, UNNAMED_500}:
        return Failure(Kind.NOT_STARTED, failure.error, failure.retry_after_s)
    return failure


def after_failure(failure: Failure, *, failures: int, max_attempts: int) -> Again | Ended:
    """Decide what follows; ``failures`` are the attempts spent before this one."""
    if failure.kind is Kind.PERMANENT:
        return Ended("failed", failure.error)
    if failure.kind is Kind.NOT_STARTED:
        return Again(_at_least(backoff_s(1), failure.retry_after_s), spent=False, error=failure.error)
    if failures + 1 >= max_attempts:
        return Ended("failed", failure.error)
    return Again(_at_least(backoff_s(failures + 1), failure.retry_after_s), spent=True, error=failure.error)


def backoff_s(failures: int) -> float:
    """Return the seconds to wait after so many failures: doubling, bounded, with jitter."""
    ceiling = min(LONGEST_WAIT_S, FIRST_WAIT_S * 2 ** min(failures - 1, 16))
    return random.uniform(ceiling / 2, ceiling)  # noqa: S311  # jitter needs no cryptography


def _at_least(wait_s: float, asked_s: float | None) -> float:
    """Return the wait, or what the algorithm asked for when that is longer, within an hour."""
    return max(wait_s, min(asked_s or 0.0, 3600.0))
