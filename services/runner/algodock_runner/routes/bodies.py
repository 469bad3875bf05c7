"""Bodies of requests: read as far as is allowed, and made into requests for tasks."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any, TypeVar

from pydantic import BaseModel, ValidationError

from algodock_common.errors import BadRequest, PayloadTooLarge
from algodock_common.events import TaskRequest, TaskRerun
from algodock_runner.domain.errors import InvalidTask

if TYPE_CHECKING:
    from fastapi import Request

__all__ = ["ENVELOPE_BYTES", "check_length", "json_of", "read", "task_request", "task_requests", "task_rerun"]

ENVELOPE_BYTES = 256 * 1024
"""What a request may have beside its input: the keys, the metadata, white space."""

BATCH_TASKS = 1000
Model = TypeVar("Model", bound=BaseModel)
_SHOWN = 3
_LISTED = 20


async def read(request: Request, limit: int) -> bytes:
    """Read the body, and not one byte more than is allowed.

    Raises:
        PayloadTooLarge: it is longer than ``limit`` bytes, or says that it will be.
    """
    check_length(request, limit)
    parts, size = [], 0
    async for chunk in request.stream():
        parts.append(chunk)
        size += len(chunk)
        if size > limit:
            raise _too_large(limit)
    return b"".join(parts)


def check_length(request: Request, limit: int) -> None:
    """Refuse a body before it comes when it says that it will be too long.

    Raises:
        PayloadTooLarge: it says more than ``limit`` bytes.
    """
    declared = request.headers.get("content-length", "")
    if declared.isdigit() and int(declared) > limit:
        raise _too_large(limit)


def json_of(body: bytes) -> Any:
    """Return what the body says.

    Raises:
        BadRequest: it is no JSON.
    """
    try:
        return json.loads(body, parse_constant=_no_constant)
    except (ValueError, RecursionError) as error:
        msg = f"The body is no JSON: {error}"
        raise BadRequest(msg) from error


def task_request(document: Any) -> TaskRequest:
    """Return the request that a document says.

    Raises:
        InvalidTask: it is none; the problem has the paths of what is wrong.
    """
    return _validated(TaskRequest, document)


def task_rerun(body: bytes) -> TaskRerun:
    """Return what a rerun shall have different; an empty body says nothing.

    Raises:
        BadRequest: it is no JSON.
        InvalidTask: it says something else.
    """
    return _validated(TaskRerun, json_of(body) if body.strip() else {})


def task_requests(document: dict[str, Any]) -> list[TaskRequest | InvalidTask]:
    """Return the requests of ``{"tasks": […]}``; one that is wrong is its error.

    Raises:
        InvalidTask: that is no list of 1 to 1,000 requests, or not all that is said.
    """
    wanted = document["tasks"]
    if len(document) > 1 or not isinstance(wanted, list) or not 1 <= len(wanted) <= BATCH_TASKS:
        msg = f"A batch is {{'tasks': [...]}} with 1 to {BATCH_TASKS} requests, and nothing beside them."
        raise InvalidTask(msg)
    requests: list[TaskRequest | InvalidTask] = []
    for one in wanted:
        try:
            requests.append(task_request(one))
        except InvalidTask as error:
            requests.append(error)
    return requests


def _validated(model: type[Model], document: Any) -> Model:
    try:
        return model.model_validate(document)
    except ValidationError as error:
        found = [
            {"path": ".".join(map(str, one["loc"])) or "body", "message": one["msg"]}
            for one in error.errors()[:_LISTED]
        ]
        detail = "; ".join(f"{one['path']}: {one['message']}" for one in found[:_SHOWN])
        raise InvalidTask(detail, errors=found) from error


def _too_large(limit: int) -> PayloadTooLarge:
    msg = f"The body is larger than {limit} bytes."
    return PayloadTooLarge(msg)


def _no_constant(name: str) -> None:
    msg = f"{name} is no JSON"
    raise ValueError(msg)
