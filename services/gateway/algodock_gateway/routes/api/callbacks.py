"""``/api/v1/callbacks`` and the callback of a task: read from the runner, and sent again."""

from __future__ import annotations

from datetime import datetime
from typing import TYPE_CHECKING, Annotated, Any, Literal
from uuid import UUID

from fastapi import APIRouter, Query
from fastapi.responses import Response
from pydantic import BaseModel, ConfigDict, Field

from algodock_common.identifiers import AlgorithmName
from algodock_gateway.routes.api.answers import Problem
from algodock_gateway.routes.gatekeeper import Caller
from algodock_gateway.routes.relay import Relayed

if TYPE_CHECKING:
    from algodock_gateway.handlers.identity import Stamps
    from algodock_gateway.routes.relay import Peer, Relay

__all__ = ["make_router"]

State = Literal["pending", "delivered", "failed", "disabled"]


class DeliveryAnswer(BaseModel):
    """One delivery; `answer` is the beginning of what the receiver said."""

    attempt: int
    started_at: datetime
    duration_ms: float
    status: int | None
    error: str | None
    answer: str
    next_at: datetime | None


class CallbackAnswer(BaseModel):
    """How a callback stands; `webhook_id` is the same at every delivery."""

    task_id: UUID
    webhook_id: str
    algorithm: str
    url: str
    state: State
    attempts: int
    next_at: datetime | None
    last_status: int | None
    last_error: str | None
    created_at: datetime | None
    ended_at: datetime | None


class CallbackDetailAnswer(CallbackAnswer):
    """A callback and its last deliveries, newest first."""

    deliveries: list[DeliveryAnswer]


class CallbacksAnswer(BaseModel):
    """A page of callbacks; `next` goes into `after` for the page that follows."""

    callbacks: list[CallbackAnswer]
    next: UUID | None


class RedeliverRequest(BaseModel):
    """Which callbacks are sent again: those that nobody took, unless it says otherwise."""

    model_config = ConfigDict(extra="forbid")

    state: State = "failed"
    algorithm: AlgorithmName | None = None
    url: str | None = None
    since: datetime | None = Field(default=None, description="ended at that time or later")
    until: datetime | None = Field(default=None, description="ended before that time")
    limit: int = Field(default=1000, ge=1, le=1000)


class RedeliveredAnswer(BaseModel):
    """How many are due again; `more`: ask again for the rest."""

    redelivered: int
    more: bool


class DisabledAnswer(BaseModel):
    """An address that answered 410: it gets nothing until it is enabled."""

    url: str
    disabled_at: datetime
    reason: str


class DisabledAddressesAnswer(BaseModel):
    """The disabled addresses, the last disabled first."""

    disabled: list[DisabledAnswer]


class EnableRequest(BaseModel):
    """Which address; with `redeliver` what it missed is sent, up to 1,000."""

    model_config = ConfigDict(extra="forbid")

    url: str
    redeliver: bool = False


class EnabledAnswer(RedeliveredAnswer):
    """What an enable did."""

    url: str
    was_disabled: bool


def make_router(stamps: Stamps, relay: Relay, runner: Peer) -> APIRouter:
    """Return the routes."""
    router = APIRouter(tags=["callbacks"])

    @router.get("/tasks/{task_id}/callback", response_class=Response, responses=_of(200, CallbackDetailAnswer))
    async def get(task_id: UUID, caller: Caller) -> Response:
        """Show a task's callback and the log of its deliveries."""
        return Relayed(relay, runner, f"/internal/tasks/{task_id}/callback", identity=stamps.of(caller))

    @router.post(
        "/tasks/{task_id}/callback/redeliver",
        status_code=202,
        response_class=Response,
        responses=_of(202, CallbackDetailAnswer)
        | {409: {"model": Problem, "description": "The task has not ended, or the address is disabled"}},
    )
    async def redeliver(task_id: UUID, caller: Caller) -> Response:
        """Send a task's callback again, with the same `webhook-id`; its schedule begins anew."""
        return Relayed(relay, runner, f"/internal/tasks/{task_id}/callback/redeliver", identity=stamps.of(caller))

    @router.get("/callbacks", response_class=Response, responses=_of(200, CallbacksAnswer))
    async def all_callbacks(  # one for each filter
        caller: Caller,
        *,
        state: State | None = None,
        algorithm: AlgorithmName | None = None,
        url: str | None = None,
        since: Annotated[str | None, Query(description="ended at that time or later")] = None,
        until: Annotated[str | None, Query(description="ended before that time")] = None,
        limit: Annotated[int, Query(ge=1, le=200)] = 50,
        after: UUID | None = None,
    ) -> Response:
        """List callbacks of tasks that ended, the newest task first; `state=failed` are those that nobody took."""
        query = {
            "state": state, "algorithm": algorithm, "url": url, "since": since, "until": until,
            "limit": limit, "after": after,
        }  # fmt: skip
        return Relayed(relay, runner, "/internal/callbacks", query=query, identity=stamps.of(caller))

    @router.post(
        "/callbacks/redeliver",
        status_code=202,
        response_class=Response,
        responses=_of(202, RedeliveredAnswer),
        openapi_extra=_body(RedeliverRequest),
    )
    async def redeliver_many(caller: Caller) -> Response:
        """Send many callbacks again."""
        return Relayed(relay, runner, "/internal/callbacks/redeliver", identity=stamps.of(caller))

    @router.get("/callbacks/disabled", response_class=Response, responses=_of(200, DisabledAddressesAnswer))
    async def disabled(caller: Caller) -> Response:
        """List addresses that answered 410 and get nothing."""
        return Relayed(relay, runner, "/internal/callbacks/disabled", identity=stamps.of(caller))

    @router.post(
        "/callbacks/enable",
        response_class=Response,
        responses=_of(200, EnabledAnswer),
        openapi_extra=_body(EnableRequest),
    )
    async def enable(caller: Caller) -> Response:
        """Let callbacks go to an address again."""
        return Relayed(relay, runner, "/internal/callbacks/enable", identity=stamps.of(caller))

    return router


def _of(status: int, model: type[BaseModel]) -> dict[int | str, dict[str, Any]]:
    return {status: {"model": model}}


def _body(model: type[BaseModel]) -> dict[str, Any]:
    return {"requestBody": {"required": True, "content": {"application/json": {"schema": model.model_json_schema()}}}}
