"""What can go wrong between a caller of ours and an instance."""

from __future__ import annotations

__all__ = ["AnswerTooLate", "BadAnswer", "CallerGone", "CannotConnect", "ConnectionBroke", "UpstreamError"]


class UpstreamError(Exception):
    """Something went wrong between a caller of ours and an instance.

    ::

        UpstreamError
        ├── CannotConnect     nothing was sent: another instance may be tried
        ├── ConnectionBroke   the connection ended before the answer did
        ├── BadAnswer         what came is no HTTP/1.1 answer
        ├── AnswerTooLate     the head, or the next part of the body, did not come in time
        └── CallerGone        nobody waits for the answer any more
    """


class CannotConnect(UpstreamError):
    """No connection could be made; nothing was sent."""


class ConnectionBroke(UpstreamError):
    """The connection ended before the answer did."""


class BadAnswer(UpstreamError):
    """What came is no HTTP/1.1 answer."""


class AnswerTooLate(UpstreamError):
    """The answer, or its next part, did not come in time."""


class CallerGone(UpstreamError):
    """The caller has disconnected."""
