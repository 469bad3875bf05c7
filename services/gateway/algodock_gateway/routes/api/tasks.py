"""``/api/v1/tasks``: submitted to and read from the runner; the long poll is held here."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any
from uuid import UUID

from fastapi import APIRouter, Query
from fastapi.responses import Response

from algodock_common.events import TaskRequest, TaskState
from algodock_common.identifiers import AlgorithmName
from algodock_gateway.routes.api.answers import Problem, TaskAnswer
from algodock_gateway.routes.gatekeeper import Caller
from algodock_gateway.routes.relay import Relayed

if TYPE_CHECKING:
    from algodock_gateway.handlers.identity import Stamps
    from algodock_gateway.handlers.tasks import Tasks
    from algodock_gateway.routes.relay import Peer, Relay

__all__ = ["make_router"]

SUBMIT_S = 60.0


def make_router(tasks: Tasks, stamps: Stamps, relay: Relay, runner: Peer) -> APIRouter:
    """Return the routes."""
    router = APIRouter(prefix="/tasks", tags=["tasks"])

    @router.post("", status_code=202, response_class=Response, openapi_extra=_BODY, responses=_SUBMITTED)
    async def submit(caller: Caller) -> Response:
        """Submit a task: 202; with the same idempotency key and body the same task, with another body 409."""
        return Relayed(relay, runner, "/internal/tasks", identity=stamps.of(caller), timeout_s=SUBMIT_S)

    @router.get("", response_class=Response)
    async def all_tasks(
        caller: Caller,
        algorithm: AlgorithmName | None = None,
        state: TaskState | None = None,
        limit: Annotated[int, Query(ge=1, le=200)] = 50,
        after: UUID | None = None,
    ) -> Response:
        """List tasks, newest first."""
        query = {"algorithm": algorithm, "state": state, "limit": limit, "after": after}
        return Relayed(relay, runner, "/internal/tasks", query=query, identity=stamps.of(caller))

    @router.get("/{task_id}")
    async def get(task_id: UUID, caller: Caller, wait: Annotated[float, Query(ge=0)] = 0) -> TaskAnswer:
        """Return a task; with `wait` (seconds, at most 60) as soon as it has ended."""
        return TaskAnswer.model_validate(await tasks.get(task_id, identity=stamps.of(caller), wait_s=min(wait, 60)))

    @router.get("/{task_id}/result", response_class=Response)
    async def result(
        task_id: UUID,
        caller: Caller,
        link: Annotated[bool | None, Query(description="redirect to the object store, whatever the size")] = None,
    ) -> Response:
        """Return the result with its content type, or redirect to it."""
        path = f"/internal/tasks/{task_id}/result"
        return Relayed(relay, runner, path, query={"link": link}, identity=stamps.of(caller))

    @router.post("/{task_id}/cancel", status_code=202, response_class=Response)
    async def cancel(task_id: UUID, caller: Caller) -> Response:
        """Cancel a task, or ask a running one to stop."""
        return Relayed(relay, runner, f"/internal/tasks/{task_id}/cancel", identity=stamps.of(caller))

    return router


_BODY: dict[str, Any] = {
    "requestBody": {"required": True, "content": {"application/json": {"schema": TaskRequest.model_json_schema()}}}
}
_SUBMITTED: dict[int | str, dict[str, Any]] = {
    200: {"model": TaskAnswer, "description": "It was submitted before"},
    202: {"model": TaskAnswer, "description": "Accepted: a committed row"},
    409: {"model": Problem, "description": "The idempotency key was used with another body"},
}
