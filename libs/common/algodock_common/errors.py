"""Typed errors that carry their HTTP status; at every inlet they become RFC 9457 problem details.

Handlers and domain code raise them, never HTTP exceptions; services subclass them for their own
cases. The tree::

    AlgoDockError (500)
    ├── BadRequest (400)      ├── Conflict (409)            ├── UpstreamFailed (502, retryable)
    ├── Unauthorized (401)    ├── PayloadTooLarge (413)     ├── Unavailable (503, retryable)
    ├── Forbidden (403)       ├── InvalidInput (422)        └── UpstreamTimeout (504, retryable)
    └── NotFound (404)        └── TooManyRequests (429, retryable)
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any, ClassVar

__all__ = [
    "PROBLEM_CONTENT_TYPE",
    "AlgoDockError",
    "BadRequest",
    "Conflict",
    "Forbidden",
    "InvalidInput",
    "NotFound",
    "PayloadTooLarge",
    "TooManyRequests",
    "Unauthorized",
    "Unavailable",
    "UpstreamFailed",
    "UpstreamTimeout",
    "error_for_status",
    "error_from_problem",
    "problem_of",
]

PROBLEM_CONTENT_TYPE = "application/problem+json"

_TYPE_PREFIX = "urn:problem-type:algodock:"
_CLIENT_ERROR = 4  # the class of status codes
_OWN_MEMBERS = frozenset({"type", "title", "status", "detail", "instance", "trace_id"})


class AlgoDockError(Exception):
    """An error with a status; ``detail`` is for the person who made the request.

    ``retryable`` says whether the same call may succeed later: consumers retry such errors and
    put the rest on the dead letters. ``extra`` becomes members of the problem document.
    ``retry_after`` is in seconds.
    """

    status: int = 500
    title: str = "Internal error"
    code: str = "internal"
    retryable: bool = False

    def __init__(self, detail: str, *, retry_after: float | None = None, **extra: object) -> None:
        """Say what went wrong in a sentence that the caller can act on."""
        super().__init__(detail)
        self.detail = detail
        self.retry_after = retry_after
        self.extra = extra

    def headers(self) -> dict[str, str]:
        """Return the HTTP headers that belong to the error (lower-case names)."""
        if self.retry_after is None:
            return {}
        return {"retry-after": str(max(1, math.ceil(self.retry_after)))}


class BadRequest(AlgoDockError):
    """The request cannot be read: malformed JSON, a missing header, a bad parameter."""

    status = 400
    title = "Bad request"
    code = "bad-request"


class Unauthorized(AlgoDockError):
    """No valid credential; the detail never says what was wrong with it."""

    status = 401
    title = "Unauthorized"
    code = "unauthorized"
    challenge: ClassVar[str] = "Bearer"

    def headers(self) -> dict[str, str]:
        """Return the headers, with the challenge that RFC 9110 asks for."""
        return {**super().headers(), "www-authenticate": self.challenge}


class Forbidden(AlgoDockError):
    """The caller is known and may not do this."""

    status = 403
    title = "Forbidden"
    code = "forbidden"


class NotFound(AlgoDockError):
    """There is no such thing."""

    status = 404
    title = "Not found"
    code = "not-found"


class Conflict(AlgoDockError):
    """The request contradicts the present state."""

    status = 409
    title = "Conflict"
    code = "conflict"


class PayloadTooLarge(AlgoDockError):
    """The body is larger than the limit."""

    status = 413
    title = "Payload too large"
    code = "payload-too-large"


class InvalidInput(AlgoDockError):
    """The request can be read, but what it says is not valid."""

    status = 422
    title = "Invalid input"
    code = "invalid-input"


class TooManyRequests(AlgoDockError):
    """A limit is reached; ``retry_after`` says when to come again."""

    status = 429
    title = "Too many requests"
    code = "too-many-requests"
    retryable = True


class UpstreamFailed(AlgoDockError):
    """Something that this service called answered with nonsense or an error."""

    status = 502
    title = "Upstream failed"
    code = "upstream-failed"
    retryable = True


class Unavailable(AlgoDockError):
    """Something that is needed cannot be reached now."""

    status = 503
    title = "Unavailable"
    code = "unavailable"
    retryable = True


class UpstreamTimeout(AlgoDockError):
    """Something that this service called did not answer in time."""

    status = 504
    title = "Upstream timed out"
    code = "upstream-timeout"
    retryable = True


_BY_STATUS: dict[int, type[AlgoDockError]] = {
    cls.status: cls
    for cls in (
        BadRequest,
        Unauthorized,
        Forbidden,
        NotFound,
        Conflict,
        PayloadTooLarge,
        InvalidInput,
        TooManyRequests,
        UpstreamFailed,
        Unavailable,
        UpstreamTimeout,
    )
}


def error_for_status(status: int) -> type[AlgoDockError]:
    """Return the class that stands for an HTTP status; an unlisted 4xx is a bad request."""
    fallback = BadRequest if status // 100 == _CLIENT_ERROR else AlgoDockError
    return _BY_STATUS.get(status, fallback)


def problem_of(error: AlgoDockError, *, instance: str | None = None, trace_id: str | None = None) -> dict[str, Any]:
    """Return the RFC 9457 problem document of ``error``; extra members never hide the standard ones.

    ``trace_id`` is the current span's unless another is given.
    """
    if trace_id is None:
        from algodock_common.observability.tracing import current_trace_id  # errors are the base

        trace_id = current_trace_id()
    problem: dict[str, Any] = {
        "type": _TYPE_PREFIX + error.code,
        "title": error.title,
        "status": error.status,
        "detail": error.detail,
    }
    if instance is not None:
        problem["instance"] = instance
    if trace_id is not None:
        problem["trace_id"] = trace_id
    problem.update((name, value) for name, value in error.extra.items() if name not in _OWN_MEMBERS)
    return problem


def error_from_problem(status: int, problem: Mapping[str, Any], *, retry_after: float | None = None) -> AlgoDockError:
    """Return the typed error that another service's problem document stands for.

    The class follows from the status; title, code and extra members are the other service's own.
    """
    detail = problem.get("detail") or problem.get("title") or f"HTTP status {status}"
    error = error_for_status(status)(str(detail), retry_after=retry_after)
    error.status = status
    error.extra = {name: value for name, value in problem.items() if name not in _OWN_MEMBERS}
    kind = problem.get("type")
    if isinstance(kind, str) and kind.startswith(_TYPE_PREFIX):
        error.code = kind.removeprefix(_TYPE_PREFIX)
    if isinstance(problem.get("title"), str):
        error.title = problem["title"]
    return error
