"""Dead letters as people read them: tasks that failed, and messages that a consumer gave up."""

from __future__ import annotations

from datetime import datetime
from typing import Annotated, Literal
from uuid import UUID

from pydantic import BaseModel, ConfigDict, Field, StringConstraints

from algodock_common.identifiers import AlgorithmName

__all__ = ["DeadLetterDetail", "DeadLetterFilter", "DeadLetterQuery", "DeadLetterSummary", "Kind", "Replayed"]

Kind = Literal["task", "message"]
Word = Annotated[str, StringConstraints(min_length=1, max_length=255, pattern=r"^[^\x00]+$")]


class DeadLetterSummary(BaseModel):
    """One dead letter. ``task_id`` is the failed task; a message has its place on its topic instead."""

    model_config = ConfigDict(frozen=True, from_attributes=True)

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


class DeadLetterDetail(DeadLetterSummary):
    """A dead letter whole; of a message what it said: as text, or in base64 where it is none, whole unless ``cut``."""

    message_key: str | None
    text: str | None
    base64: str | None
    cut: bool
    headers: dict[str, str] | None


class DeadLetterQuery(BaseModel):
    """Which dead letters are listed; ``after`` is the last id of the page before."""

    model_config = ConfigDict(extra="forbid")

    kind: Kind | None = None
    algorithm: AlgorithmName | None = None
    topic: Word | None = None
    error_type: Word | None = None
    replayed: bool | None = None
    limit: int = Field(default=50, ge=1, le=200)
    after: UUID | None = None


class DeadLetterFilter(DeadLetterQuery):
    """The same, and whose: None for everybody's, messages of the platform among them."""

    owner: str | None = None


class Replayed(BaseModel):
    """What a replay became: a new task, or the message on its topic again."""

    id: UUID
    replayed_at: datetime
    task_id: UUID | None = None
    topic: str | None = None
