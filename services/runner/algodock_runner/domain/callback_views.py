"""Callbacks as their owner reads them and asks for them again."""

from __future__ import annotations

from datetime import datetime
from typing import Annotated
from uuid import UUID

from pydantic import AwareDatetime, BaseModel, ConfigDict, Field, StringConstraints, computed_field

from algodock_common.identifiers import AlgorithmName
from algodock_runner.domain.callbacks import CallbackState, webhook_id

__all__ = [
    "CallbackDetail",
    "CallbackFilter",
    "CallbackQuery",
    "CallbackSummary",
    "DeliveryView",
    "DisabledTarget",
    "EnableRequest",
    "Enabled",
    "RedeliverRequest",
    "Redelivered",
    "Url",
]

Url = Annotated[str, StringConstraints(min_length=1, max_length=4096, pattern=r"^[^\x00]+$")]

READ = ConfigDict(frozen=True, from_attributes=True)


class DeliveryView(BaseModel):
    """One delivery of the log; ``answer`` is the beginning of what the receiver said."""

    model_config = READ

    attempt: int
    started_at: datetime
    duration_ms: float
    status: int | None
    error: str | None
    answer: str
    next_at: datetime | None


class CallbackSummary(BaseModel):
    """How a callback stands; ``next_at`` is when it is tried (again), while it is pending."""

    model_config = READ

    task_id: UUID
    algorithm: str
    url: str
    state: CallbackState
    attempts: int
    next_at: datetime | None
    last_status: int | None
    last_error: str | None
    created_at: datetime | None
    ended_at: datetime | None

    @computed_field  # type: ignore[prop-decorator]  # as pydantic documents it
    @property
    def webhook_id(self) -> str:
        """Return the id that every delivery of it carries."""
        return webhook_id(self.task_id)


class CallbackDetail(CallbackSummary):
    """A callback and its last deliveries, newest first."""

    deliveries: list[DeliveryView]


class DisabledTarget(BaseModel):
    """An address that gets nothing until it is enabled again."""

    model_config = READ

    url: str
    disabled_at: datetime
    reason: str


class CallbackFilter(BaseModel):
    """Which callbacks; ``since`` and ``until`` bound when they ended. ``owner`` None: everybody's."""

    model_config = ConfigDict(frozen=True)

    owner: str | None = None
    state: CallbackState | None = None
    algorithm: str | None = None
    url: str | None = None
    since: datetime | None = None
    until: datetime | None = None
    after: UUID | None = None
    limit: int = 50


class CallbackQuery(BaseModel):
    """The query of a list; ``after`` is the ``next`` of the page before."""

    model_config = ConfigDict(extra="ignore")

    state: CallbackState | None = None
    algorithm: AlgorithmName | None = None
    url: Url | None = None
    since: AwareDatetime | None = None
    until: AwareDatetime | None = None
    limit: int = Field(default=50, ge=1, le=200)
    after: UUID | None = None


class RedeliverRequest(BaseModel):
    """The body of a redelivery of many: those that nobody took, unless it says otherwise."""

    model_config = ConfigDict(extra="forbid")

    state: CallbackState = "failed"
    algorithm: AlgorithmName | None = None
    url: Url | None = None
    since: AwareDatetime | None = None
    until: AwareDatetime | None = None
    limit: int = Field(default=1000, ge=1, le=1000)


class Redelivered(BaseModel):
    """How many callbacks are due again; ``more``: ask again for the rest."""

    redelivered: int
    more: bool


class EnableRequest(BaseModel):
    """The body of an enable; with ``redeliver`` what was not delivered meanwhile is due again, up to 1,000."""

    model_config = ConfigDict(extra="forbid")

    url: Url
    redeliver: bool = False


class Enabled(Redelivered):
    """What an enable did."""

    url: str
    was_disabled: bool
