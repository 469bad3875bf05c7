"""What can go wrong at the gateway, as its callers read it."""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar

from algodock_common.errors import (
    BadRequest,
    Conflict,
    Forbidden,
    NotFound,
    PayloadTooLarge,
    TooManyRequests,
    Unauthorized,
    Unavailable,
    UpstreamFailed,
    UpstreamTimeout,
)

if TYPE_CHECKING:
    from datetime import datetime

__all__ = [
    "AlgorithmUnknown",
    "AnswerOverdue",
    "BodyTooLarge",
    "CallQueueFull",
    "CallWaitedTooLong",
    "GitKeyRefused",
    "InstanceFailed",
    "KeyRefused",
    "NoInstance",
    "NotTheOwner",
    "RotatedTooOften",
    "RunsElsewhere",
    "ServiceUnknown",
    "SpeaksGrpc",
    "TooManyWatchers",
]


class KeyRefused(Unauthorized):
    """There is no valid API key with the request; never says what was wrong with it."""

    def __init__(self) -> None:
        """Say the same for a missing and a wrong key."""
        super().__init__("A valid API key is needed: Authorization: Bearer <key>.")


class GitKeyRefused(Unauthorized):
    """A git client must show an API key as its password; the challenge makes it ask for one."""

    challenge: ClassVar[str] = 'Basic realm="AlgoDock", charset="UTF-8"'

    def __init__(self) -> None:
        """Tell git's user what the password is."""
        super().__init__("Use any user name, and an API key as the password.")


class AlgorithmUnknown(NotFound):
    """There is no algorithm of this name."""

    code = "algorithm-unknown"

    def __init__(self, name: str) -> None:
        """Name it, shortened: it is the caller's text."""
        super().__init__(f"There is no algorithm {name[:63]!r}.")


class ServiceUnknown(NotFound):
    """The algorithm exists, and nothing of it was ever deployed."""

    code = "service-unknown"

    def __init__(self, name: str) -> None:
        """Name it."""
        super().__init__(f"Nothing of {name[:63]!r} was deployed yet.")


class SpeaksGrpc(BadRequest):
    """The algorithm is a gRPC service, and the call came over HTTP."""

    code = "speaks-grpc"

    def __init__(self, name: str) -> None:
        """Say how it is called."""
        super().__init__(
            f"{name!r} speaks gRPC and cannot be called over HTTP. Call /{name}/<package.Service>/<Method> at the gRPC "
            "edge, by default port 6006."
        )


class NotTheOwner(Forbidden):
    """The algorithm is somebody else's."""

    code = "not-the-owner"

    def __init__(self, name: str) -> None:
        """Name it."""
        super().__init__(f"Only the owner of {name[:63]!r}, or an administrator, may do this.")


class RunsElsewhere(Conflict):
    """The service registered itself; whoever runs it restarts it."""

    code = "runs-elsewhere"

    def __init__(self, name: str) -> None:
        """Name it."""
        super().__init__(f"{name[:63]!r} runs elsewhere: it cannot be restarted from here.")


class RotatedTooOften(Conflict):
    """A callback secret was replaced several times, and those before it are still valid."""

    code = "rotated-too-often"

    def __init__(self, until: datetime | None) -> None:
        """Say until when the oldest is valid."""
        when = "" if until is None else f" until {until.isoformat(timespec='seconds')}"
        super().__init__(
            f"Two earlier callback secrets are still valid{when}: wait, or end them all with a grace of 0 seconds."
        )


class NoInstance(Unavailable):
    """The algorithm is known, and no instance of it can take a call now."""

    code = "no-instance"

    def __init__(self, name: str, *, retry_after: float = 1) -> None:
        """Name it, and say when to come again (seconds)."""
        super().__init__(f"No instance of {name!r} is ready now.", retry_after=retry_after)


class CallQueueFull(TooManyRequests):
    """All of the service's slots are taken and its queue is full."""

    code = "queue-full"

    def __init__(self, name: str, concurrency: int, queue: int) -> None:
        """Say the limits."""
        super().__init__(
            f"{name!r} takes {concurrency} calls at once and lets {queue} wait; both are full.",
            retry_after=1,
            concurrency=concurrency,
            queue=queue,
        )


class SlotsUnknown(Unavailable):
    """Redis is away, so nobody knows how many of the service's slots are taken."""

    code = "slots-unknown"

    def __init__(self, name: str) -> None:
        """Name the service."""
        super().__init__(
            f"{name!r} takes a limited number of calls at once, and the place where they are counted does not"
            " answer now; try again.",
            retry_after=1,
        )


class CallWaitedTooLong(Unavailable):
    """The call waited for a free slot as long as the service's timeout allows."""

    code = "queue-timeout"

    def __init__(self, name: str, seconds: float) -> None:
        """Say how long."""
        super().__init__(f"{name!r} had no free slot for {seconds:g} s.", retry_after=1)


class BodyTooLarge(PayloadTooLarge):
    """The request's body is past the limit."""

    def __init__(self, limit: int) -> None:
        """Say the limit (bytes)."""
        super().__init__(f"The body may have at most {limit} bytes here.", limit_bytes=limit)


class AnswerOverdue(UpstreamTimeout):
    """The algorithm did not answer within its timeout."""

    def __init__(self, name: str, seconds: float) -> None:
        """Say how long was waited."""
        super().__init__(f"{name!r} did not answer within {seconds:g} s.")


class InstanceFailed(UpstreamFailed):
    """The connection to the instance broke, or what it answered is no HTTP."""

    def __init__(self, name: str) -> None:
        """Say it without the inside's addresses."""
        super().__init__(f"The instance of {name!r} ended the connection without an answer.")


class TooManyWatchers(Unavailable):
    """This process streams the events of as many tasks as it may."""

    code = "too-many-watchers"

    def __init__(self, most: int) -> None:
        """Say how many, and what to do meanwhile."""
        super().__init__(
            f"{most} readers watch tasks here already; come again, or poll GET /api/v1/tasks/<id>?wait=30.",
            retry_after=5,
        )
