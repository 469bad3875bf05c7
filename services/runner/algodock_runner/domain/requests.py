"""From a request to the row that will be the acceptance: checked, merged, hashed."""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from typing import TYPE_CHECKING

from pydantic import ValidationError

from algodock_common.events import TaskRequest
from algodock_common.identifiers import uuid7
from algodock_runner.domain.errors import InvalidTask

if TYPE_CHECKING:
    from uuid import UUID

__all__ = [
    "JSON",
    "NewTask",
    "StoredBody",
    "check_text",
    "encode",
    "input_key",
    "merged_input",
    "new_task",
    "task_of_body",
]

JSON = "application/json"
METADATA_ENTRIES = 64
METADATA_CHARACTERS = 8192


@dataclass(frozen=True, slots=True)
class StoredBody:
    """A task's body that lies in the object store already, under ``input_key``; ``digest`` is a hash of it."""

    task_id: UUID
    content_type: str
    digest: bytes


@dataclass(frozen=True, slots=True)
class NewTask:
    """A task that is about to be accepted. ``body``, or what lies at ``body_key``, is what ``/predict`` will get."""

    id: UUID
    owner: str
    algorithm: str
    version: str | None
    body: bytes = field(repr=False)
    body_key: str | None
    content_type: str
    request_hash: bytes
    idempotency_key: str | None
    priority: int
    not_before: datetime | None
    deadline: datetime | None
    timeout_s: float | None
    max_attempts: int
    metadata: dict[str, str]
    callback_url: str | None
    traceparent: str | None
    rerun_of: UUID | None = None


def input_key(task_id: UUID) -> str:
    """Return the object-store key of a task's input where that is too large for its row."""
    return f"tasks/{task_id}/input"


def new_task(
    request: TaskRequest,
    *,
    owner: str,
    traceparent: str | None,
    default_key: str | None = None,
    stored: StoredBody | None = None,
) -> NewTask:
    """Check ``request`` and make the task of it.

    ``default_key`` is the idempotency key of a request that names none (a message's event id, so
    that a message delivered twice is one task). ``stored`` is its body where that came with files.

    Raises:
        InvalidTask: params and input do not merge, a text cannot be stored, or a number is no JSON.
    """
    for name, text in _texts(request):
        check_text(name, text)
    _check_metadata(request.metadata)
    not_before, deadline = _utc(request.not_before), _utc(request.deadline)
    if not_before and deadline and deadline <= not_before:
        msg = "deadline: must be later than not_before"
        raise InvalidTask(msg)
    return NewTask(
        id=uuid7() if stored is None else stored.task_id,
        owner=owner,
        algorithm=request.algorithm,
        version=request.version.lower() if request.version else None,
        body=encode(merged_input(request)) if stored is None else b"",
        body_key=None if stored is None else input_key(stored.task_id),
        content_type=JSON if stored is None else stored.content_type,
        request_hash=_request_hash(request, b"" if stored is None else stored.digest),
        idempotency_key=request.idempotency_key or default_key,
        priority=request.priority,
        not_before=not_before,
        deadline=deadline,
        timeout_s=request.timeout,
        max_attempts=request.max_attempts,
        metadata=request.metadata,
        callback_url=request.callback_url,
        traceparent=traceparent,
    )


def task_of_body(
    algorithm: str,
    body: bytes,
    content_type: str,
    *,
    owner: str,
    traceparent: str | None,
    stored: StoredBody | None = None,
) -> NewTask:
    """Make a task of a call's body as it stands; only the algorithm knows whether it is good.

    Raises:
        InvalidTask: the algorithm's name cannot be stored.
    """
    task = new_task(_named(algorithm), owner=owner, traceparent=traceparent, stored=stored)
    if stored is not None:
        return task
    plain = JSON if content_type.split(";", 1)[0].strip().lower() == JSON else content_type
    digest = hashlib.sha256(plain.encode() + b"\0" + body).digest()
    return replace(task, body=body or b"{}", content_type=plain, request_hash=digest)


def _named(algorithm: str) -> TaskRequest:
    try:
        return TaskRequest(algorithm=algorithm)
    except ValidationError as error:
        msg = "algorithm: no name or id of an algorithm"
        raise InvalidTask(msg) from error


def merged_input(request: TaskRequest) -> object:
    """Return the algorithm's input with the parameters merged over it.

    Raises:
        InvalidTask: they do not merge.
    """
    if request.params is None:
        return request.input
    if "input" not in request.model_fields_set:
        return request.params
    if not isinstance(request.input, dict):
        msg = "params: can only be merged over an input that is an object"
        raise InvalidTask(msg)
    merged: object = request.input | request.params
    return merged


def _request_hash(request: TaskRequest, files: bytes) -> bytes:
    """Return a hash that equal requests share, whatever the order of their keys and whichever inlet they took.

    Fields that are not set do not count, so a field added later changes no old hash. ``files`` is the
    digest of what came with it.
    """
    said = request.model_dump(include=request.model_fields_set - {"idempotency_key"}, exclude_defaults=True)
    for name in ("not_before", "deadline"):
        if said.get(name) is not None:
            said[name] = _utc(said[name]).isoformat()  # type: ignore[union-attr]  # it is not None
    return hashlib.sha256(encode(said, sort_keys=True) + files).digest()


def encode(value: object, *, sort_keys: bool = False) -> bytes:
    """Return the JSON of a value.

    Raises:
        InvalidTask: a number is no JSON, or it is nested too deeply.
    """

    def dump(*, ensure_ascii: bool) -> str:
        return json.dumps(value, allow_nan=False, separators=(",", ":"), sort_keys=sort_keys, ensure_ascii=ensure_ascii)

    try:
        try:
            return dump(ensure_ascii=False).encode()
        except UnicodeEncodeError:  # half of a surrogate pair: legal in JSON, but only as an escape
            return dump(ensure_ascii=True).encode()
    except RecursionError as error:
        msg = "input: is nested too deeply"
        raise InvalidTask(msg) from error
    except ValueError as error:
        msg = "input: NaN and Infinity are no JSON"
        raise InvalidTask(msg) from error


def _texts(request: TaskRequest) -> list[tuple[str, str]]:
    found = [("algorithm", request.algorithm)]
    if request.idempotency_key is not None:
        found.append(("idempotency_key", request.idempotency_key))
    if request.callback_url is not None:
        found.append(("callback_url", request.callback_url))
    found += [("metadata", text) for item in request.metadata.items() for text in item]
    return found


def check_text(name: str, text: str) -> None:
    """Refuse what PostgreSQL cannot store: NUL, and halves of surrogate pairs.

    Raises:
        InvalidTask: ``name``'s text has one.
    """
    try:
        text.encode()
    except UnicodeEncodeError as error:
        msg = f"{name}: has half of a surrogate pair in it"
        raise InvalidTask(msg) from error
    if "\0" in text:
        msg = f"{name}: has a NUL character in it"
        raise InvalidTask(msg)


def _check_metadata(metadata: dict[str, str]) -> None:
    if len(metadata) > METADATA_ENTRIES or sum(map(len, [*metadata, *metadata.values()])) > METADATA_CHARACTERS:
        msg = f"metadata: at most {METADATA_ENTRIES} entries and {METADATA_CHARACTERS} characters together"
        raise InvalidTask(msg)


def _utc(moment: datetime | None) -> datetime | None:
    """Read a time without a zone as UTC."""
    if moment is None or moment.tzinfo is not None:
        return moment
    return moment.replace(tzinfo=UTC)
