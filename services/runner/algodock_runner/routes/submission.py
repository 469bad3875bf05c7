"""Tasks handed in."""

from __future__ import annotations

import json
from typing import Annotated, Any

from fastapi import APIRouter, Depends, Request, Response, status
from pydantic import ValidationError

from algodock_common.errors import BadRequest, PayloadTooLarge
from algodock_common.events import TaskRequest
from algodock_common.web import Identity, current_identity
from algodock_runner.domain.errors import InvalidTask
from algodock_runner.domain.tasks import TaskView
from algodock_runner.handlers.submit import Submission

__all__ = ["router"]

ENVELOPE_BYTES = 256 * 1024
"""What a request may have beside its input: the keys, the metadata, white space."""


def _submission(request: Request) -> Submission:
    found: Submission = request.app.state.submission
    return found


router = APIRouter(prefix="/tasks")


@router.post("", status_code=status.HTTP_202_ACCEPTED)
async def submit(
    request: Request,
    response: Response,
    identity: Annotated[Identity, Depends(current_identity)],
    submission: Annotated[Submission, Depends(_submission)],
) -> TaskView:
    """Accept a task: 202, or 200 with the task of the same idempotency key and body."""
    limit = request.app.state.settings.tasks.max_input_bytes + ENVELOPE_BYTES
    made = await submission.submit(_task_request(await _body(request, limit)), owner=identity.key_id)
    if not made.new:
        response.status_code = status.HTTP_200_OK
    return made.view


async def _body(request: Request, limit: int) -> bytes:
    """Read the body, and not one byte more than is allowed."""
    read = bytearray()
    async for chunk in request.stream():
        read += chunk
        if len(read) > limit:
            msg = f"The body is larger than {limit} bytes."
            raise PayloadTooLarge(msg)
    return bytes(read)


def _task_request(body: bytes) -> TaskRequest:
    try:
        document: Any = json.loads(body, parse_constant=_no_constant)
    except (ValueError, RecursionError) as error:
        msg = f"The body is no JSON: {error}"
        raise BadRequest(msg) from error
    try:
        return TaskRequest.model_validate(document)
    except ValidationError as error:
        found = [
            {"path": ".".join(map(str, one["loc"])) or "body", "message": one["msg"]} for one in error.errors()[:20]
        ]
        raise InvalidTask("; ".join(f"{one['path']}: {one['message']}" for one in found[:3]), errors=found) from error


def _no_constant(name: str) -> None:
    msg = f"{name} is no JSON"
    raise ValueError(msg)
