"""A task once more: on another version, with other input or parameters, told to somebody else."""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from algodock_common.identifiers import uuid7
from algodock_runner.domain.errors import InvalidTask
from algodock_runner.domain.requests import JSON, NewTask, check_text, encode

if TYPE_CHECKING:
    from uuid import UUID

    from algodock_common.events import TaskRerun

__all__ = ["Original", "changes_body", "rerun_of"]


@dataclass(frozen=True, slots=True)
class Original:
    """A task as it was submitted; its body, or where that lies."""

    id: UUID
    owner: str
    algorithm: str
    version: str | None
    body: bytes | None = field(repr=False)
    body_key: str | None
    content_type: str
    priority: int
    timeout_s: float | None
    max_attempts: int
    metadata: dict[str, str]
    callback_url: str | None


def changes_body(original: Original, wanted: TaskRerun) -> bool:
    """Say whether the algorithm is to get something else than before.

    Raises:
        InvalidTask: the original came with files, and those cannot be changed in part.
    """
    changes = bool(wanted.model_fields_set & {"input", "params"})
    if changes and original.content_type != JSON:
        msg = "This task came with files: it can be run again as it was, or submitted anew with others."
        raise InvalidTask(msg)
    return changes


def rerun_of(
    original: Original, wanted: TaskRerun, *, body: bytes | None, owner: str, traceparent: str | None
) -> NewTask:
    """Return the new task; ``body`` is the original's where that is needed to change it.

    What is not said stays as it was, save the idempotency key and the times of the original.

    Raises:
        InvalidTask: what is said does not fit the original, or a text cannot be stored.
    """
    for name in ("idempotency_key", "callback_url"):
        text = getattr(wanted, name)
        if text is not None:
            check_text(name, text)
    said = wanted.model_fields_set
    changed = changes_body(original, wanted)
    version = wanted.version.lower() if wanted.version else None
    return NewTask(
        id=uuid7(),
        owner=owner,
        algorithm=original.algorithm,
        version=version if "version" in said else original.version,
        body=_changed(body or b"null", wanted) if changed else original.body or b"",
        body_key=None if changed else original.body_key,
        content_type=original.content_type,
        request_hash=_hash(original.id, wanted),
        idempotency_key=wanted.idempotency_key,
        priority=original.priority,
        not_before=None,
        deadline=None,
        timeout_s=original.timeout_s,
        max_attempts=original.max_attempts,
        metadata=original.metadata,
        callback_url=wanted.callback_url if "callback_url" in said else original.callback_url,
        traceparent=traceparent,
        rerun_of=original.id,
    )


def _changed(body: bytes, wanted: TaskRerun) -> bytes:
    input_: Any = wanted.input if "input" in wanted.model_fields_set else _read(body)
    if wanted.params is None:
        return encode(input_)
    if not isinstance(input_, dict):
        msg = "params: can only be merged over an input that is an object"
        raise InvalidTask(msg)
    return encode(input_ | wanted.params)


def _read(body: bytes) -> Any:
    try:
        return json.loads(body)
    except (ValueError, RecursionError) as error:
        msg = "params: the input of this task is no JSON that they could be merged over"
        raise InvalidTask(msg) from error


def _hash(original: UUID, wanted: TaskRerun) -> bytes:
    said = wanted.model_dump(include=wanted.model_fields_set - {"idempotency_key"})
    return hashlib.sha256(original.bytes + encode(said, sort_keys=True)).digest()
