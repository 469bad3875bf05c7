"""``POST /api/v1/tasks``: one task, up to a thousand, one with files, or an old one again; accepted by the runner."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any
from uuid import UUID

from fastapi import APIRouter
from fastapi.responses import Response
from pydantic import BaseModel

from algodock_common.events import TaskRequest, TaskRerun
from algodock_gateway.routes.api.answers import Problem, TaskAnswer
from algodock_gateway.routes.gatekeeper import Caller
from algodock_gateway.routes.relay import Relayed

if TYPE_CHECKING:
    from algodock_gateway.handlers.identity import Stamps
    from algodock_gateway.routes.relay import Peer, Relay

__all__ = ["make_router"]

SUBMIT_S = 60.0


class Refused(BaseModel):
    """Why one task of a batch was not accepted."""

    error: Problem


class BatchAnswer(BaseModel):
    """The answer to a batch: each task, or why it was refused, in the place of its request."""

    tasks: list[TaskAnswer | Refused]


def make_router(stamps: Stamps, relay: Relay, runner: Peer) -> APIRouter:
    """Return the routes."""
    router = APIRouter(prefix="/tasks", tags=["tasks"])

    @router.post("", status_code=202, response_class=Response, openapi_extra=_SUBMIT_BODY, responses=_SUBMITTED)
    async def submit(caller: Caller) -> Response:
        """Submit a task: 202; with the same idempotency key and body the same task, with another body 409.

        `{"tasks": [...]}` submits up to 1,000 at once and is answered with each one's task or problem in
        its place. A form submits files: its first part is `task`, the request as JSON; the other parts and
        the members of its `input` are the form that the algorithm gets. Where too many tasks wait: 429
        with `Retry-After`.
        """
        return Relayed(relay, runner, "/internal/tasks", identity=stamps.of(caller), timeout_s=SUBMIT_S)

    @router.post(
        "/{task_id}/rerun", status_code=202, response_class=Response, openapi_extra=_RERUN_BODY, responses=_MADE
    )
    async def rerun(task_id: UUID, caller: Caller) -> Response:
        """Run a task again: 202 with a new one, whose `rerun_of` names the old one.

        What the body does not name stays as it was: `version`, `input`, `params` (merged over the input),
        `callback_url`. Its times and its idempotency key are not taken over.
        """
        path = f"/internal/tasks/{task_id}/rerun"
        return Relayed(relay, runner, path, identity=stamps.of(caller), timeout_s=SUBMIT_S)

    return router


_ONE: dict[str, Any] = TaskRequest.model_json_schema()
_MANY: dict[str, Any] = {
    "type": "object",
    "title": "Batch",
    "required": ["tasks"],
    "properties": {"tasks": {"type": "array", "minItems": 1, "maxItems": 1000, "items": _ONE}},
    "additionalProperties": False,
}
_FORM: dict[str, Any] = {
    "type": "object",
    "required": ["task"],
    "properties": {"task": {"type": "string", "description": "the request as JSON; the first part"}},
    "additionalProperties": {"type": "string", "format": "binary", "description": "a file, or a field"},
}
_SUBMIT_BODY: dict[str, Any] = {
    "requestBody": {
        "required": True,
        "content": {
            "application/json": {"schema": {"oneOf": [_ONE, _MANY]}},
            "multipart/form-data": {"schema": _FORM},
        },
    }
}
_RERUN_BODY: dict[str, Any] = {
    "requestBody": {"content": {"application/json": {"schema": TaskRerun.model_json_schema()}}}
}
_MADE: dict[int | str, dict[str, Any]] = {
    200: {"model": TaskAnswer, "description": "It was submitted before"},
    202: {"model": TaskAnswer, "description": "Accepted: a committed row"},
    409: {"model": Problem, "description": "The idempotency key was used with another body"},
    413: {"model": Problem, "description": "The input or the files are too large"},
    429: {"model": Problem, "description": "As many tasks wait for the algorithm as may"},
}
_SUBMITTED = _MADE | {202: {"model": TaskAnswer | BatchAnswer, "description": "Accepted: committed rows"}}
