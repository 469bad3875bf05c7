"""An algorithm's logs through the gateway: the last lines, and the new ones as they come."""

from __future__ import annotations

import json
from collections.abc import Iterator

from algodock_cli.client.gateway import Gateway

__all__ = ["algorithm_logs"]


def algorithm_logs(platform: Gateway, name: str, *, lines: int, stream: str | None, follow: bool) -> Iterator[str]:
    """Yield the last ``lines`` of what an algorithm's instances wrote; with ``follow`` go on until interrupted."""
    if not follow:
        yield from platform.get(f"/api/v1/services/logs/{name}", lines=lines, stream=stream)["lines"]
        return
    query = {"lines": lines, "follow": 1} | ({"stream": stream} if stream else {})
    with platform.stream("GET", f"/api/v1/services/logs/{name}", params=query) as response:
        for line in response.iter_lines():
            if line.startswith("data:"):
                yield _line(line.removeprefix("data:").removeprefix(" "))


def _line(data: str) -> str:
    """Return an event's line, which may come as JSON or as it is."""
    try:
        said = json.loads(data)
    except ValueError:
        return data
    return str(said["line"]) if isinstance(said, dict) and "line" in said else data
