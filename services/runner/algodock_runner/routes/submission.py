"""Tasks handed in: one, many at once, with files, or again."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

from fastapi import APIRouter, Request, Response, status

from algodock_common.errors import AlgoDockError, problem_of
from algodock_common.web import current_identity
from algodock_runner.routes.bodies import ENVELOPE_BYTES, json_of, read, task_request, task_requests

if TYPE_CHECKING:
    from collections.abc import Sequence

    from algodock_runner.handlers.submit import Made, Submission

__all__ = ["router"]

router = APIRouter(prefix="/tasks")


@router.post("", status_code=status.HTTP_202_ACCEPTED, response_model=None)
async def submit(request: Request) -> Response:
    """Accept a task: 202, or 200 with the task of the same idempotency key and body.

    Accept up to 1,000 of them: 202 with each one's task or problem in its place.
    """
    # Thousands a second may come: dependencies and response models would cost more than the rest together.
    owner = (await current_identity(request)).key_id
    submission: Submission = request.app.state.submission
    document = json_of(await read(request, request.app.state.settings.tasks.max_input_bytes + ENVELOPE_BYTES))
    if isinstance(document, dict) and "tasks" in document:
        return _many(await submission.submit_all(task_requests(document), owner=owner))
    return _one(await submission.submit(task_request(document), owner=owner))


def _one(made: Made) -> Response:
    code = status.HTTP_202_ACCEPTED if made.new else status.HTTP_200_OK
    return Response(made.view.model_dump_json(), code, media_type="application/json")


def _many(answers: Sequence[Made | AlgoDockError]) -> Response:
    said = [
        json.dumps({"error": problem_of(one)}) if isinstance(one, AlgoDockError) else one.view.model_dump_json()
        for one in answers
    ]
    return Response(f'{{"tasks":[{",".join(said)}]}}', status.HTTP_202_ACCEPTED, media_type="application/json")
