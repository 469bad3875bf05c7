"""``/api/v1/tasks``: read from the runner; the long poll is held here."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Annotated, Any
from uuid import UUID

from fastapi import APIRouter, Query
from fastapi.responses import Response
from pydantic import BaseModel, Field

from algodock_common.errors import BadRequest
from algodock_common.events import TaskState
from algodock_common.identifiers import AlgorithmName
from algodock_gateway.routes.api.answers import Problem, TaskAnswer
from algodock_gateway.routes.gatekeeper import Caller
from algodock_gateway.routes.relay import Relayed

if TYPE_CHECKING:
    from algodock_gateway.handlers.identity import Stamps
    from algodock_gateway.handlers.tasks import Tasks
    from algodock_gateway.routes.relay import Peer, Relay

__all__ = ["TaskQuery", "make_router"]


class TaskQuery(BaseModel):
    """Which tasks to list; all that is given must hold."""

    algorithm: AlgorithmName | None = None
    state: TaskState | None = None
    mine: bool | None = Field(default=None, description="only those of this key, also for an administrator")
    since: datetime | None = Field(default=None, description="accepted then or later; UTC where no zone is given")
    until: datetime | None = Field(default=None, description="accepted before")
    idempotency_key: str | None = None
    metadata: list[str] = Field(default=[], description="`key=value`; all that are given must be the task's own")
    limit: int = Field(default=50, ge=1, le=200)
    after: UUID | None = Field(default=None, description="`next` of the page before")

    def asked(self) -> dict[str, Any]:
        """Return the runner's query.

        Raises:
            BadRequest: a piece of metadata is no pair.
        """
        query = self.model_dump(mode="json", exclude={"metadata", "since", "until"})
        for name in ("since", "until"):
            given: datetime | None = getattr(self, name)
            if given is not None:
                query[name] = (given if given.tzinfo else given.replace(tzinfo=UTC)).isoformat()
        if self.metadata:
            query["metadata"] = json.dumps(dict(map(_pair, self.metadata)))
        return query


def _pair(given: str) -> tuple[str, str]:
    key, sign, value = given.partition("=")
    if not sign:
        msg = f"metadata is given as key=value, not as {given[:100]!r}."
        raise BadRequest(msg)
    return key, value


def make_router(tasks: Tasks, stamps: Stamps, relay: Relay, runner: Peer) -> APIRouter:
    """Return the routes."""
    router = APIRouter(prefix="/tasks", tags=["tasks"])

    @router.get("", response_class=Response)
    async def all_tasks(wanted: Annotated[TaskQuery, Query()], caller: Caller) -> Response:
        """List tasks, newest first."""
        return Relayed(relay, runner, "/internal/tasks", query=wanted.asked(), identity=stamps.of(caller))

    @router.get("/{task_id}")
    async def get(task_id: UUID, caller: Caller, wait: Annotated[float, Query(ge=0)] = 0) -> TaskAnswer:
        """Return a task; with `wait` (seconds, at most 60) as soon as it has ended.

        A waiting one says its `position` among its algorithm's and about when it starts, a running
        one its last `progress`.
        """
        return TaskAnswer.model_validate(await tasks.get(task_id, identity=stamps.of(caller), wait_s=min(wait, 60)))

    @router.get(
        "/{task_id}/result",
        response_class=Response,
        responses={
            307: {"description": "Where a large one lies"},
            409: {"model": Problem, "description": "It has not succeeded, or not yet"},
            410: {"model": Problem, "description": "It was removed: when and why"},
        },
    )
    async def result(
        task_id: UUID,
        caller: Caller,
        link: Annotated[bool | None, Query(description="redirect to the object store, whatever the size")] = None,
    ) -> Response:
        """Return the result with its content type, or redirect to it."""
        path = f"/internal/tasks/{task_id}/result"
        return Relayed(relay, runner, path, query={"link": link}, identity=stamps.of(caller))

    @router.post(
        "/{task_id}/cancel",
        status_code=202,
        response_class=Response,
        openapi_extra=_CANCEL,
        responses={202: {"model": TaskAnswer}, 409: {"model": Problem, "description": "It has ended otherwise"}},
    )
    async def cancel(task_id: UUID, caller: Caller) -> Response:
        """Cancel a waiting task at once, or ask a running one to stop: it is `cancelled` when its work has stopped.

        With `force` its instance is restarted if the work goes on 5 s later.
        """
        return Relayed(relay, runner, f"/internal/tasks/{task_id}/cancel", identity=stamps.of(caller))

    return router


_CANCEL: dict[str, Any] = {
    "requestBody": {
        "content": {
            "application/json": {
                "schema": {
                    "type": "object",
                    "properties": {"force": {"type": "boolean", "default": False}},
                    "additionalProperties": False,
                }
            }
        }
    }
}
