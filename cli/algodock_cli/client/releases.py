"""Follows one release from its commit to live or failed, telling its steps as they happen."""

from __future__ import annotations

import time
from collections.abc import Callable
from datetime import datetime
from typing import Any

from algodock_cli.client.errors import GatewayProblem, NotInTime, ReleaseFailed
from algodock_cli.client.gateway import Gateway

__all__ = ["Release", "find_release", "follow_release", "seconds_between", "step_line"]

Release = dict[str, Any]
"""A release as ``GET /services/releases/{id}`` gives it."""

_LOOK_S = 0.1
_SERVED = {"canary", "live", "draining", "kept"}
_ENDED_BADLY = {"failed", "superseded"}


def find_release(
    gateway: Gateway, name: str, *, commit: str | None = None, release_id: str | None = None
) -> Release | None:
    """Return the newest release of that commit, or the one of that id, or None while there is none."""
    try:
        releases: list[Release] = gateway.get(f"/api/v1/services/releases/{name}")["releases"]
    except GatewayProblem as problem:
        if problem.status == 404:  # noqa: PLR2004  (a repository whose first push is not yet a service)
            return None
        raise
    for release in releases:
        if (commit is None or release["commit"] == commit) and (release_id is None or release["id"] == release_id):
            return release
    return None


def follow_release(
    gateway: Gateway,
    name: str,
    *,
    commit: str | None = None,
    release_id: str | None = None,
    timeout_s: float,
    say: Callable[[str], None],
    still_coming: Callable[[], None] = lambda: None,
) -> Release:
    """Wait until the release serves and return it.

    ``still_coming`` is called between looks while the release does not exist yet; it may raise.

    Raises:
        ReleaseFailed: it failed, or a newer one took its place; the message has the reason.
        NotInTime: neither happened within ``timeout_s``.
    """
    end = time.monotonic() + timeout_s
    told: set[str] = set()
    while True:
        release = find_release(gateway, name, commit=commit, release_id=release_id)
        if release is None:
            still_coming()
        else:
            for step in release.get("steps") or []:
                line = step_line(step)
                if line not in told:
                    told.add(line)
                    say(line)
            if release["state"] in _SERVED:
                return release
            if release["state"] in _ENDED_BADLY:
                raise ReleaseFailed(name, release)
        if time.monotonic() > end:
            seen = "no release of this commit yet" if release is None else f"its release is {release['state']}"
            raise NotInTime(f"{name} is not live after {timeout_s:.0f} s: {seen}\n  next: `algodock releases {name}`")
        time.sleep(_LOOK_S)


def step_line(step: dict[str, Any]) -> str:
    """Return a release's step as a line: begun, or ended and how long it took."""
    detail = f"  {step['detail']}" if step.get("detail") else ""
    if not step.get("ended_at"):
        return f"{step['name']} …"
    return f"{step['name']} done in {seconds_between(step['started_at'], step['ended_at']):.2f} s{detail}"


def seconds_between(start: str, end: str) -> float:
    """Return the seconds between two ISO times."""
    return (datetime.fromisoformat(end) - datetime.fromisoformat(start)).total_seconds()
