"""An algorithm's logs through the gateway: the last lines, and the new ones as they come."""

from __future__ import annotations

import json
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta

import typer

from algodock_cli.client.gateway import Gateway

__all__ = ["algorithm_logs"]

_SECONDS = {"s": 1, "m": 60, "h": 3600, "d": 86_400}


def algorithm_logs(
    platform: Gateway, name: str, *, lines: int, stream: str | None, follow: bool, search: str | None = None,
    since: str | None = None, until: str | None = None,
) -> Iterator[str]:  # fmt: skip
    """Yield the last ``lines`` of what an algorithm's instances wrote; with ``follow`` go on until interrupted.

    Raises:
        typer.BadParameter: ``since`` or ``until`` is neither a time nor how long ago it was.
    """
    given = {"stream": stream, "search": search, "since": _moment(since), "until": _moment(until)}
    if not follow:
        yield from platform.get(f"/api/v1/services/logs/{name}", lines=lines, **given)["lines"]
        return
    query = {"lines": lines, "follow": 1} | {key: value for key, value in given.items() if value is not None}
    with platform.stream("GET", f"/api/v1/services/logs/{name}", params=query) as response:
        for line in response.iter_lines():
            if line.startswith("data:"):
                yield _line(line.removeprefix("data:").removeprefix(" "))


def _moment(said: str | None) -> str | None:
    """Return an ISO time of what is one, or of how long ago it was, such as ``15m``."""
    if said is None:
        return None
    if said[:-1].isdecimal() and said[-1] in _SECONDS:
        return (datetime.now(UTC) - timedelta(seconds=int(said[:-1]) * _SECONDS[said[-1]])).isoformat()
    try:
        return datetime.fromisoformat(said).astimezone(UTC).isoformat()
    except ValueError as error:
        msg = f"{said!r} is neither a time such as 2026-01-31T12:00 nor how long ago, such as 15m"
        raise typer.BadParameter(msg) from error


def _line(data: str) -> str:
    """Return an event's line, which may come as JSON or as it is."""
    try:
        said = json.loads(data)
    except ValueError:
        return data
    return str(said["line"]) if isinstance(said, dict) and "line" in said else data
