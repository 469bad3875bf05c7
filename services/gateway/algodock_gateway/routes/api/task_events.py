"""``/api/v1/tasks/{id}/timeline`` and ``/events``: what happened to a task, looked up or watched."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any, Final
from uuid import UUID

from fastapi import APIRouter, Header, Query
from fastapi.responses import Response

from algodock_gateway.domain.task_events import Cursor
from algodock_gateway.handlers.task_events import Watcher
from algodock_gateway.routes.api.answers import Problem, TimelineAnswer
from algodock_gateway.routes.gatekeeper import Caller
from algodock_gateway.routes.relay import Relayed
from algodock_gateway.routes.sse import EventStream

if TYPE_CHECKING:
    from algodock_gateway.handlers.identity import Stamps
    from algodock_gateway.handlers.task_events import TaskEvents
    from algodock_gateway.routes.relay import Peer, Relay

__all__ = ["make_router"]

_TIMELINE: Final[dict[int | str, dict[str, Any]]] = {200: {"model": TimelineAnswer}}
_EVENTS: Final[dict[int | str, dict[str, Any]]] = {
    200: {
        "description": (
            "`state` (a step of the timeline), `progress`, `log`, `output` (what the algorithm says while it runs)"
            " and, at the end, `done` (the task as `GET /api/v1/tasks/{task_id}` answers it). Each has an `id`;"
            " comments between them only show that the connection lives."
        ),
        "content": {"text/event-stream": {"schema": {"type": "string"}}},
    },
    204: {"description": "`Last-Event-ID` is that of `done`: there is nothing more, do not come again"},
    400: {"model": Problem, "description": "`Last-Event-ID` is none that this stream has sent"},
}


def make_router(events: TaskEvents, stamps: Stamps, relay: Relay, runner: Peer) -> APIRouter:
    """Return the routes."""
    router = APIRouter(prefix="/tasks", tags=["tasks"])

    @router.get("/{task_id}/timeline", response_class=Response, responses=_TIMELINE)
    async def timeline(
        task_id: UUID,
        caller: Caller,
        after: Annotated[int | None, Query(ge=-1, description="only the steps behind this `index`")] = None,
    ) -> Response:
        """Return every step of a task: when, by which attempt, instance and release, and why."""
        path = f"/internal/tasks/{task_id}/timeline"
        return Relayed(relay, runner, path, query={"after": after}, identity=stamps.of(caller))

    @router.get("/{task_id}/events", response_class=Response, responses=_EVENTS)
    async def watch(
        task_id: UUID,
        caller: Caller,
        follow: Annotated[bool, Query(description="go on until the task has ended")] = True,  # noqa: FBT002  # HTTP's
        last_event_id: Annotated[str | None, Header(description="the `id` of the last event that was read")] = None,
    ) -> Response:
        """Stream a task's events until it has ended: those there are, then each as it comes."""
        cursor = Cursor.parse(last_event_id)
        if cursor.done:
            return Response(status_code=204)
        watcher = Watcher(events, task_id, identity=lambda: stamps.of(caller), cursor=cursor)
        await watcher.open()
        return EventStream(watcher.parts(follow=follow), watcher.close)

    return router
