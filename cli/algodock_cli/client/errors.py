"""What the gateway says no with, as a person reads it: what, why, and what to do next."""

from __future__ import annotations

from collections.abc import Mapping
from http import HTTPStatus
from typing import Any

from algodock_cli.failures import CommandFailed

__all__ = ["GatewayAway", "GatewayProblem", "NotInTime", "ReleaseFailed", "TaskNotSucceeded"]

_NEXT = {
    HTTPStatus.UNAUTHORIZED: "give a key that the platform knows: --key, ALGODOCK_API_KEY, or `algodock login`",
    HTTPStatus.FORBIDDEN: "ask for the right, or use another key",
    HTTPStatus.NOT_FOUND: "`algodock services` lists what there is",
    HTTPStatus.REQUEST_ENTITY_TOO_LARGE: "send less, or raise the limit in the service's configuration",
    HTTPStatus.TOO_MANY_REQUESTS: "wait, and try again",
    HTTPStatus.SERVICE_UNAVAILABLE: "`algodock services` shows its state; try again in a moment",
    HTTPStatus.GATEWAY_TIMEOUT: "submit it as a task (`algodock task submit`), or raise `timeout` in algodock.yaml",
}
_NEXT_FOR = {
    "idempotency-conflict": "the same key was used with another body: repeat that body, or choose another key",
    "callback-target-disabled": "`algodock callbacks enable URL`",
    "rotated-too-often": "`algodock callbacks rotate-secret --grace 0` ends the earlier ones now",
}
"""By the kind of problem, where the status alone says too little."""

_EXIT_CODES = {
    HTTPStatus.NOT_FOUND: 3,
    HTTPStatus.TOO_MANY_REQUESTS: 5,
    HTTPStatus.SERVICE_UNAVAILABLE: 5,
    HTTPStatus.GATEWAY_TIMEOUT: 5,
}


class GatewayAway(CommandFailed):
    """No platform answers at the URL."""

    exit_code = 3

    def __init__(self, url: str, why: object) -> None:
        super().__init__(
            f"no platform answers at {url}\n  why:  {why}\n"
            "  next: `algodock up` starts one here; --url or ALGODOCK_URL names another"
        )


class GatewayProblem(CommandFailed):
    """The gateway, or the algorithm behind it, answered with a problem document.

    ``status`` is HTTP's, ``document`` the problem as it came, ``retry_after`` in seconds.
    """

    def __init__(self, what: str, status: int, document: Mapping[str, Any], retry_after: float | None = None) -> None:
        self.status = status
        self.document = document
        self.retry_after = retry_after
        self.exit_code = _EXIT_CODES.get(HTTPStatus(status), 1) if status in _KNOWN else 1
        why = str(document.get("detail") or document.get("title") or f"status {status}")
        lines = [f"{what}: {document.get('title') or 'refused'} ({status})", f"  why:  {why}"]
        lines += [
            f"        {error.get('path') or 'body'}: {error.get('message', '')}"
            for error in document.get("errors") or []
            if isinstance(error, dict)
        ]
        if trace := document.get("trace_id"):
            lines.append(f"  trace {trace}")
        following = _NEXT_FOR.get(str(document.get("type")).rpartition(":")[2])
        if following is None and status in _KNOWN:
            following = _NEXT.get(HTTPStatus(status))
        if following:
            lines.append(f"  next: {following}" + (f" (in {retry_after:g} s)" if retry_after else ""))
        super().__init__("\n".join(lines))


class NotInTime(CommandFailed):
    """What was waited for did not happen in time."""

    exit_code = 5


class ReleaseFailed(CommandFailed):
    """A release failed; the old one goes on serving."""

    def __init__(self, name: str, release: Mapping[str, Any]) -> None:
        self.release = release
        super().__init__(
            f"the release of {name} {release.get('state', 'failed')}"
            f"{' in step ' + str(release['step']) if release.get('step') else ''}\n"
            f"  why:  {release.get('reason') or 'no reason was given'}\n"
            f"  next: `algodock build-log {name}` shows the whole build; the release before, if any, still serves"
        )


class TaskNotSucceeded(CommandFailed):
    """A task ended, but not well."""


_KNOWN = {status.value for status in HTTPStatus}
