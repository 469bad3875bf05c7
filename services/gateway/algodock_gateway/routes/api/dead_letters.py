"""``/api/v1/dead-letters``: what failed for good, read from the runner and replayed there."""

from __future__ import annotations

from datetime import datetime
from typing import TYPE_CHECKING, Annotated, Literal
from uuid import UUID

from fastapi import APIRouter, Query
from fastapi.responses import Response
from pydantic import BaseModel, Field

from algodock_common.identifiers import AlgorithmName
from algodock_gateway.routes.api.answers import Problem
from algodock_gateway.routes.gatekeeper import Caller
from algodock_gateway.routes.relay import Relayed

if TYPE_CHECKING:
    from algodock_gateway.handlers.identity import Stamps
    from algodock_gateway.routes.relay import Peer, Relay

__all__ = ["make_router"]

Kind = Literal["task", "message"]


class DeadLetterAnswer(BaseModel):
    """A task that failed, or a message that no consumer could take; `replayed_as` is the task that it became."""

    id: UUID
    kind: Kind
    task_id: UUID | None
    algorithm: str | None
    topic: str | None
    partition: int | None
    offset: int | None
    consumer: str | None
    error_type: str
    reason: str
    attempts: int
    stored_at: datetime
    replayed_at: datetime | None
    replayed_as: UUID | None


class DeadLetterDetailAnswer(DeadLetterAnswer):
    """With what the message said: `text`, or `base64` where it is none. Keys in its headers are not kept."""

    message_key: str | None
    text: str | None
    base64: str | None
    cut: bool = Field(description="only the beginning of the message was kept")
    headers: dict[str, str] | None


class DeadLettersAnswer(BaseModel):
    """A page of dead letters; `next` goes into `after` for the page that follows."""

    dead_letters: list[DeadLetterAnswer]
    next: UUID | None


class ReplayedAnswer(BaseModel):
    """What a replay became."""

    id: UUID
    replayed_at: datetime
    task_id: UUID | None = Field(description="the new task")
    topic: str | None = Field(description="where the message lies again")


def make_router(stamps: Stamps, relay: Relay, runner: Peer) -> APIRouter:
    """Return the routes."""
    router = APIRouter(prefix="/dead-letters", tags=["dead letters"])

    @router.get("", response_class=Response, responses={200: {"model": DeadLettersAnswer}})
    async def all_letters(  # one for each filter
        caller: Caller,
        *,
        kind: Kind | None = None,
        algorithm: AlgorithmName | None = None,
        topic: str | None = None,
        error_type: str | None = None,
        replayed: bool | None = None,
        limit: Annotated[int, Query(ge=1, le=200)] = 50,
        after: UUID | None = None,
    ) -> Response:
        """List tasks that failed for good, newest first; administrators see messages of the platform, too."""
        query = {
            "kind": kind, "algorithm": algorithm, "topic": topic, "error_type": error_type, "replayed": replayed,
            "limit": limit, "after": after,
        }  # fmt: skip
        return Relayed(relay, runner, "/internal/dead-letters", query=query, identity=stamps.of(caller))

    @router.get("/{letter_id}", response_class=Response, responses={200: {"model": DeadLetterDetailAnswer}})
    async def get(letter_id: UUID, caller: Caller) -> Response:
        """Show a dead letter; the one of a task has the task's id."""
        return Relayed(relay, runner, f"/internal/dead-letters/{letter_id}", identity=stamps.of(caller))

    @router.post(
        "/{letter_id}/replay",
        status_code=202,
        response_class=Response,
        responses={
            202: {"model": ReplayedAnswer},
            409: {"model": Problem, "description": "What it holds can only fail again"},
        },
    )
    async def replay(letter_id: UUID, caller: Caller) -> Response:
        """Run a failed task again as a new one, or give a message to its topic again; once: a repeat changes nothing.

        A message that asked for a task is submitted in the caller's name, because the key that it came
        with is not kept.
        """
        return Relayed(relay, runner, f"/internal/dead-letters/{letter_id}/replay", identity=stamps.of(caller))

    return router
