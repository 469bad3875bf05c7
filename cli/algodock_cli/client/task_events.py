"""A task's events from the gateway, gone on with where they were when a connection breaks."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from typing import Any, NamedTuple

from algodock_cli.client.errors import GatewayAway, GatewayProblem
from algodock_cli.client.gateway import Gateway

__all__ = ["TaskEvent", "task_events"]

_PATIENCE_S = 30.0
_PAUSE_S = 0.5
_UNAVAILABLE = 503


class TaskEvent(NamedTuple):
    """One event: its id, ``state``, ``progress``, ``log``, ``output`` or ``done``, and its data."""

    id: str
    name: str
    data: dict[str, Any]


def task_events(platform: Gateway, task_id: str, *, follow: bool) -> Iterator[TaskEvent]:
    """Yield a task's events; with ``follow`` until it has ended, else those there are.

    Raises:
        GatewayAway, GatewayProblem: the first connection failed, or none came back for half a minute.
    """
    last: str | None = None
    begun = False
    end = 0.0
    while True:
        try:
            for one in _read(platform, task_id, last, follow=follow):
                last, begun, end = one.id, True, 0.0
                yield one
                if one.name == "done":
                    return
            if not follow:
                return
        except (GatewayAway, GatewayProblem) as error:
            if not begun or (isinstance(error, GatewayProblem) and error.status != _UNAVAILABLE):
                raise
            end = end or time.monotonic() + _PATIENCE_S
            if time.monotonic() > end:
                raise
        time.sleep(_PAUSE_S)


def _read(platform: Gateway, task_id: str, last: str | None, *, follow: bool) -> Iterator[TaskEvent]:
    headers = {} if last is None else {"last-event-id": last}
    query = {} if follow else {"follow": "0"}
    path = f"/api/v1/tasks/{task_id}/events"
    with platform.stream("GET", path, headers=headers, params=query) as response:
        fields: dict[str, str] = {}
        for line in response.iter_lines():
            name, _, value = line.partition(":")
            if name in {"id", "event", "data"}:
                fields[name] = value.removeprefix(" ")
            elif not line and "event" in fields:
                yield TaskEvent(fields["id"], fields["event"], json.loads(fields["data"]))
                fields = {}
