"""A task as it is stored, as a worker holds it, and as its owner reads it."""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from datetime import datetime  # pydantic reads the annotations
from typing import TYPE_CHECKING, Any
from uuid import UUID  # as above

from pydantic import BaseModel, ConfigDict
from pydantic_core import from_json, to_json

from algodock_common.events import TASK_TERMINAL_STATES, TaskError, TaskState

if TYPE_CHECKING:
    from collections.abc import Mapping

__all__ = [
    "SMALL_JSON_BYTES",
    "CallbackView",
    "Claim",
    "Result",
    "StoredResult",
    "TaskView",
    "Unstored",
    "breaks_its_word",
    "is_small_json",
    "result_key",
    "result_url",
]


def result_key(task_id: UUID, attempt: int) -> str:
    """Return the object-store key of one attempt's result: written once, never changed."""
    return f"tasks/{task_id}/{attempt}"


def result_url(gateway_url: str, task_id: UUID) -> str:
    """Return where people and programs read the result; the gateway redirects from there."""
    return f"{gateway_url.rstrip('/')}/api/v1/tasks/{task_id}/result"


@dataclass(frozen=True, slots=True)
class Claim:
    """A task as the worker that claimed it holds it; ``attempt`` is the fence of all it writes.

    ``failures`` counts the attempts that were spent before this one, ``deadline_in_s`` is in
    seconds from the claim by the database's clock.
    """

    id: UUID
    algorithm: str
    version: str | None
    attempt: int
    failures: int
    max_attempts: int
    timeout_s: float | None
    deadline_in_s: float | None
    body: bytes | None = field(repr=False)
    body_key: str | None
    content_type: str
    traceparent: str | None
    waited_s: float


SMALL_JSON_BYTES = 16 * 1024
"""JSON results up to here travel with ``task.finished`` and stay in their rows."""


def breaks_its_word(content_type: str, data: bytes) -> bool:
    """Say whether an answer calls itself JSON and is none; NaN, and what is too deep to tell, are let pass."""
    if not data or content_type.split(";", 1)[0].strip().lower() != "application/json":
        return False
    try:
        from_json(data)
    except ValueError:  # it is stricter than JSON on depth and on halves of surrogate pairs
        try:
            json.loads(data)
        except RecursionError:
            return False
        except ValueError:
            return True
    return False


def is_small_json(content_type: str, data: bytes) -> bool:
    """Say whether a result is JSON that an event can carry.

    What calls itself JSON may be none, or more than an event can say: too deep, half a surrogate pair.
    """
    if len(data) > SMALL_JSON_BYTES or content_type.split(";", 1)[0].strip().lower() != "application/json":
        return False
    try:
        from_json(to_json(from_json(data, allow_inf_nan=False)))
    except ValueError:
        return False
    return True


@dataclass(frozen=True, slots=True)
class StoredResult:
    """A result that can be read: under its key in the object store, or from ``inline``.

    ``inline`` has it while its object is not ``stored`` yet, and after that when it is small JSON.
    """

    key: str
    content_type: str
    size: int
    inline: bytes | None = field(default=None, repr=False)
    stored: bool = True


@dataclass(frozen=True, slots=True)
class Unstored:
    """A result that is committed in its task's row; its object is still to be written."""

    task_id: UUID
    key: str
    content_type: str
    data: bytes = field(repr=False)


@dataclass(frozen=True, slots=True)
class Result:
    """What ``GET …/result`` needs to know."""

    state: TaskState
    stored: StoredResult | None
    error: dict[str, Any] | None
    removed_at: datetime | None = None
    by_age: bool = False


class CallbackView(BaseModel):
    """How the callback of a task stands."""

    state: str
    attempts: int


class TaskView(BaseModel):
    """A task as its owner reads it."""

    model_config = ConfigDict(frozen=True)

    id: UUID
    state: TaskState
    algorithm: str
    attempt: int
    max_attempts: int
    priority: int
    version: str | None
    rerun_of: UUID | None
    idempotency_key: str | None
    release_id: UUID | None
    commit: str
    created_at: datetime
    not_before: datetime | None
    deadline: datetime | None
    started_at: datetime | None
    finished_at: datetime | None
    cancel_requested_at: datetime | None
    result_url: str | None
    result_content_type: str | None
    result_bytes: int | None
    error: TaskError | None
    metadata: dict[str, str]
    callback: CallbackView | None
    config_version: int | None = None
    position: int | None = None
    estimated_start_at: datetime | None = None

    @property
    def ended(self) -> bool:
        """Say whether the state is terminal."""
        return self.state in TASK_TERMINAL_STATES

    @classmethod
    def of(cls, row: Mapping[Any, Any], *, gateway_url: str) -> TaskView:
        """Read a row of the repository."""
        callback = None
        if row["callback_state"] is not None:
            callback = CallbackView(state=row["callback_state"], attempts=row["callback_attempts"])
        url = result_url(gateway_url, row["id"]) if row["result_key"] else None
        return cls.model_validate(dict(row) | {"result_url": url, "callback": callback})
