"""Tasks handed in: one, many at once, with files, or again."""

from __future__ import annotations

import json
from contextlib import aclosing
from typing import TYPE_CHECKING, Annotated
from uuid import UUID

from fastapi import APIRouter, Path, Request, Response, status
from starlette.routing import Route

from algodock_common.errors import AlgoDockError, BadRequest, PayloadTooLarge, problem_of
from algodock_common.web import current_identity, require_service_token
from algodock_runner.domain.errors import InvalidTask
from algodock_runner.domain.files import TASK_PART, Part
from algodock_runner.routes.access import Owner
from algodock_runner.routes.bodies import (
    ENVELOPE_BYTES,
    check_length,
    json_of,
    read,
    task_request,
    task_requests,
    task_rerun,
)
from algodock_runner.routes.parts import parts_of

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Sequence

    from algodock_runner.handlers.files import FileSubmission
    from algodock_runner.handlers.rerun import Reruns
    from algodock_runner.handlers.submit import Made, Submission

__all__ = ["QUICK", "router"]

TYPE_CHARACTERS = 255

router = APIRouter(prefix="/internal/tasks")


async def submit(request: Request) -> Response:
    """Accept a task: 202, or 200 with the task of the same idempotency key and body.

    Accept up to 1,000 of them: 202 with each one's task or problem in its place. Accept one with
    files: a form whose first part is ``task``.
    """
    request.scope["route"] = QUICK  # for the metrics
    await require_service_token(request)
    owner = (await current_identity(request)).key_id
    submission: Submission = request.app.state.submission
    limits = request.app.state.settings.tasks
    if request.headers.get("content-type", "").startswith("multipart/"):
        return _one(await _with_files(request, owner, limits.max_files_bytes, submission))
    document = json_of(await read(request, limits.max_input_bytes + ENVELOPE_BYTES))
    if isinstance(document, dict) and "tasks" in document:
        return _many(await submission.submit_all(task_requests(document), owner=owner))
    return _one(await submission.submit(task_request(document), owner=owner))


@router.post("/of/{algorithm}", status_code=status.HTTP_202_ACCEPTED, response_model=None)
async def submit_call(request: Request, algorithm: Annotated[str, Path(min_length=1, max_length=63)]) -> Response:
    """Make a task of what a call of the algorithm would have as its body."""
    owner = (await current_identity(request)).key_id
    limit: int = request.app.state.settings.tasks.max_files_bytes
    check_length(request, limit)
    files: FileSubmission = request.app.state.file_submission
    type_ = request.headers.get("content-type") or "application/json"
    if len(type_) > TYPE_CHARACTERS or not (type_.isascii() and type_.isprintable()):
        msg = f"A content type has up to {TYPE_CHARACTERS} printable ASCII characters."
        raise BadRequest(msg)
    return _one(await files.submit_body(algorithm, type_, request.stream(), most=limit, owner=owner))


@router.post("/{task_id}/rerun", status_code=status.HTTP_202_ACCEPTED, response_model=None)
async def rerun(request: Request, task_id: UUID, visible_to: Owner) -> Response:
    """Run a task again: 202 with a new task, or 200 with the one of the same idempotency key and body."""
    owner = (await current_identity(request)).key_id
    reruns: Reruns = request.app.state.reruns
    wanted = task_rerun(await read(request, request.app.state.settings.tasks.max_input_bytes + ENVELOPE_BYTES))
    return _one(await reruns.rerun(task_id, wanted, visible_to=visible_to, owner=owner))


QUICK = Route("/internal/tasks", submit, methods=["POST"])
"""Hundreds a second may come: the framework's dependencies and models would cost more than all the rest."""


async def _with_files(request: Request, owner: str, limit: int, submission: Submission) -> Made:
    check_length(request, limit)
    files: FileSubmission = request.app.state.file_submission
    async with aclosing(parts_of(request.headers["content-type"], request.stream(), limit=limit)) as pieces:
        document, first = await _task_part(pieces)
        wanted = task_request(json_of(document))
        if first is None:
            return await submission.submit(wanted, owner=owner)
        return await files.submit(wanted, first, pieces, owner=owner)


async def _task_part(pieces: AsyncIterator[Part | bytes]) -> tuple[bytes, Part | None]:
    """Return the content of the part that says what the task is, and the head of the one that follows it."""
    head = await anext(pieces, None)
    if not isinstance(head, Part) or head.name != TASK_PART:
        msg = f"The first part must be {TASK_PART!r}: the request as JSON. The files follow it."
        raise InvalidTask(msg)
    document = b""
    async for piece in pieces:
        if isinstance(piece, Part):
            return document, piece
        document += piece
        if len(document) > ENVELOPE_BYTES:
            msg = f"The part {TASK_PART!r} is larger than {ENVELOPE_BYTES} bytes; large values are parts of their own."
            raise PayloadTooLarge(msg)
    return document, None


def _one(made: Made) -> Response:
    code = status.HTTP_202_ACCEPTED if made.new else status.HTTP_200_OK
    return Response(made.view.model_dump_json(), code, media_type="application/json")


def _many(answers: Sequence[Made | AlgoDockError]) -> Response:
    said = [
        json.dumps({"error": problem_of(one)}) if isinstance(one, AlgoDockError) else one.view.model_dump_json()
        for one in answers
    ]
    return Response(f'{{"tasks":[{",".join(said)}]}}', status.HTTP_202_ACCEPTED, media_type="application/json")
