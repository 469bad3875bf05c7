"""HTTP in: what programs and builds wrote."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Annotated
from uuid import UUID

from fastapi import APIRouter, Query
from pydantic import BaseModel, ConfigDict
from starlette.responses import PlainTextResponse, Response, StreamingResponse

from algodock_common.errors import InvalidInput
from algodock_deployer import handlers
from algodock_deployer.domain.logs import Stream, Wanted

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

__all__ = ["make_router"]

EVENTS = "text/event-stream"
Lines = Annotated[int, Query(ge=0, le=10_000)]
Text = Annotated[str, Query(max_length=1000)]


class LineAnswer(BaseModel):
    """One line: when it was there at the latest, on which stream, of which program."""

    model_config = ConfigDict(from_attributes=True)

    at: datetime | None
    stream: str
    program: str
    text: str


class LogAnswer(BaseModel):
    """Lines, oldest first; not ``complete``: there was more than one question may look through."""

    service_id: UUID
    lines: list[str]
    entries: list[LineAnswer]
    complete: bool


def make_router(context: handlers.Context) -> APIRouter:
    """Return the routes."""
    router = APIRouter()

    @router.get("/services/{name}/logs")
    async def logs(  # one for each parameter
        name: str,
        *,
        lines: Lines = 100,
        stream: Stream = "all",
        follow: bool = False,
        search: Text = "",
        since: datetime | None = None,
        until: datetime | None = None,
    ) -> Response:
        wanted = Wanted(lines, stream, search, _utc(since), _utc(until))
        if follow and (since or until):
            msg = "Who follows a log sees what comes: leave `since` and `until` out, or `follow`."
            raise InvalidInput(msg)
        if follow:
            await handlers.find_service(context, name)
            return StreamingResponse(_events(handlers.follow_logs(context, name, wanted)), media_type=EVENTS)
        service_id, found = await handlers.find_lines(context, name, wanted)
        answer = LogAnswer(
            service_id=service_id,
            lines=[line.text for line in found.lines],
            entries=[LineAnswer.model_validate(line) for line in found.lines],
            complete=found.complete,
        )
        return Response(answer.model_dump_json(), media_type="application/json")

    @router.get("/releases/{release_id}/build-log", response_class=PlainTextResponse)
    async def build_log(
        release_id: UUID, *, follow: bool = False, sse: bool = False, after: Annotated[int, Query(ge=0)] = 0
    ) -> Response:
        if not follow and not sse:
            return PlainTextResponse(await handlers.build_log(context, release_id))
        await handlers.find_release(context, release_id)
        if sse:
            lines = handlers.follow_build_lines(context, release_id, after=after)
            return StreamingResponse(_build_events(lines), media_type=EVENTS)
        return StreamingResponse(handlers.follow_build(context, release_id), media_type="text/plain; charset=utf-8")

    return router


def _utc(at: datetime | None) -> datetime | None:
    """Return a time that says no zone as UTC."""
    return at.replace(tzinfo=UTC) if at is not None and at.tzinfo is None else at


async def _events(lines: AsyncIterator[str]) -> AsyncIterator[str]:
    """Write lines as server-sent events."""
    async for line in lines:
        yield f"data: {line.rstrip(chr(13))}\n\n"


async def _build_events(
    lines: AsyncIterator[handlers.BuildLine | handlers.BuildEnd | None],
) -> AsyncIterator[str]:
    """Write a build's lines as events that can be gone on from, and its end as the last one."""
    async for line in lines:
        if line is None:
            yield ": still building\n\n"
        elif isinstance(line, handlers.BuildLine):
            text = line.text.replace(chr(13), " ").rstrip()
            yield f"id: {line.end}\ndata: {text}\n\n"
        else:
            yield f"event: end\ndata: {json.dumps({'state': line.state, 'reason': line.reason})}\n\n"
