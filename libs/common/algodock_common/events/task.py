"""Steps 4 and 5, task and result: asked for, accepted, ready to be taken, finished."""

from __future__ import annotations

from datetime import datetime
from typing import Annotated, Any, ClassVar, Literal
from uuid import UUID

from pydantic import BaseModel, ConfigDict, Field

from algodock_common.events.envelope import EventData
from algodock_common.identifiers import AlgorithmName

__all__ = [
    "TASK_TERMINAL_STATES",
    "TaskAccepted",
    "TaskError",
    "TaskFinished",
    "TaskReady",
    "TaskRequest",
    "TaskRequested",
    "TaskRerun",
    "TaskState",
]

TaskState = Literal["accepted", "queued", "running", "succeeded", "failed", "cancelled", "expired"]
TASK_TERMINAL_STATES: frozenset[str] = frozenset({"succeeded", "failed", "cancelled", "expired"})


_Version = Annotated[
    str | None,
    Field(
        pattern=r"^[0-9a-fA-F]{7}[0-9a-fA-F-]{0,57}$",
        description="only this release: its id, or the beginning of its commit (at least 7 characters)",
    ),
]
_CallbackUrl = Annotated[
    str | None, Field(max_length=2048, pattern=r"^https?://", description="gets the signed task.finished")
]
_IdempotencyKey = Annotated[
    str | None, Field(min_length=1, max_length=255, description="the same again is the same task")
]


class TaskRequest(BaseModel):
    """A task as it is asked for, by REST or by Kafka: the body of ``POST /api/v1/tasks``.

    ``params``, when given, are merged over ``input`` (both must be objects then). ``timeout`` is
    in seconds; without it the algorithm's own holds.
    """

    model_config = ConfigDict(
        extra="forbid",
        json_schema_extra={
            "examples": [
                {
                    "algorithm": "text-classify",
                    "input": {"input_data": ["The screen broke after a week"], "batch_id": "test_001"},
                    "idempotency_key": "test-001",
                }
            ]
        },
    )

    algorithm: str = Field(min_length=1, max_length=63, description="the algorithm's name")
    version: _Version = None
    input: Any = Field(default=None, description="the body of its predict, as it stands")
    params: dict[str, Any] | None = Field(default=None, description="merged over an input that is an object")
    callback_url: _CallbackUrl = None
    idempotency_key: _IdempotencyKey = None
    priority: int = Field(default=0, ge=-100, le=100, description="higher goes first")
    not_before: datetime | None = Field(default=None, description="not to be begun earlier")
    deadline: datetime | None = Field(default=None, description="expired, when it has not begun by then")
    timeout: float | None = Field(default=None, gt=0, le=86_400, description="seconds one attempt may take")
    max_attempts: int = Field(default=3, ge=1, le=20, description="first attempt and retries together")
    metadata: dict[str, str] = Field(default_factory=dict, description="comes back with the result")


class TaskRerun(BaseModel):
    """What shall be different when a task is run again: the body of ``POST /api/v1/tasks/{id}/rerun``.

    What is not named stays as it was; ``params`` are merged over the input, a ``version`` or ``callback_url``
    of null takes the old one away.
    """

    model_config = ConfigDict(extra="forbid", json_schema_extra={"examples": [{"version": "3f1c9d2"}]})

    version: _Version = None
    input: Any = Field(default=None, description="in place of the old one")
    params: dict[str, Any] | None = Field(default=None, description="merged over the input")
    callback_url: _CallbackUrl = None
    idempotency_key: _IdempotencyKey = None


class TaskRequested(TaskRequest, EventData):
    """The public Kafka inlet; the caller's key is in the message's ``authorization`` header."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    topic: ClassVar[str] = "task.requested"

    def subject(self) -> str:
        """Return the idempotency key, or the algorithm where there is none."""
        return self.idempotency_key or self.algorithm


class TaskError(BaseModel):
    """Why a task did not succeed: the error's type, its message, and the HTTP status if there was one."""

    type: str
    message: str
    status: int | None = None


class TaskAccepted(EventData):
    """The task is a committed row."""

    topic: ClassVar[str] = "task.accepted"

    id: UUID
    idempotency_key: str | None = None
    state: TaskState
    algorithm: AlgorithmName

    def subject(self) -> str:
        """Return the task."""
        return str(self.id)


class TaskFinished(EventData):
    """The task reached its terminal state.

    ``result_url`` points to the gateway, which redirects to the object store; ``result`` holds a
    JSON result up to 16 KiB.
    """

    topic: ClassVar[str] = "task.finished"

    id: UUID = Field(description="the task")
    idempotency_key: str | None = Field(default=None, description="as it was submitted with")
    state: TaskState = Field(description="a terminal one: succeeded, failed, cancelled or expired")
    algorithm: AlgorithmName
    release_id: UUID | None = Field(default=None, description="the release that served it")
    commit: str = Field(default="", description="the release's commit")
    attempt: int = Field(default=0, description="the attempt that counted")
    result_url: str | None = Field(default=None, description="where the result is read, with an API key")
    result_content_type: str | None = None
    result_bytes: int | None = None
    result: Any = Field(default=None, description="a small JSON result itself")
    error: TaskError | None = Field(default=None, description="why it did not succeed")
    metadata: dict[str, str] = Field(default_factory=dict, description="as it was submitted with")
    finished_at: datetime | None = None

    def subject(self) -> str:
        """Return the task."""
        return str(self.id)


class TaskReady(EventData):
    """A doorbell: the algorithm has work that is due. Never the work itself."""

    topic: ClassVar[str] = "task.ready"

    algorithm: AlgorithmName

    def subject(self) -> str:
        """Return the algorithm's name."""
        return self.algorithm
