"""The envelope every event travels in: CloudEvents 1.0, JSON, with typed data.

Source: https://github.com/cloudevents/spec/blob/v1.0.2/cloudevents/spec.md and its
extensions "Distributed Tracing" (traceparent) and "Sequence".
"""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Annotated, ClassVar, Generic, Self, TypeVar
from uuid import UUID

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, PlainSerializer

from algodock_common.identifiers import uuid7

__all__ = ["Data", "Event", "EventData", "Sequence"]


class EventData(BaseModel):
    """The data of one kind of event; a subclass is one kind.

    Unknown fields are dropped, so that a newer producer does not break an older consumer.
    """

    model_config = ConfigDict(extra="ignore", frozen=True)

    topic: ClassVar[str]
    data_version: ClassVar[int] = 1

    @classmethod
    def event_type(cls) -> str:
        """Return the CloudEvents ``type``: the topic and the version of its data."""
        return f"{cls.topic}.v{cls.data_version}"

    def subject(self) -> str:
        """Return what the event is about; sequences grow per subject."""
        raise NotImplementedError

    def key(self) -> str:
        """Return the Kafka key; events of one key keep their order. Default: the subject."""
        return self.subject()


Data = TypeVar("Data", bound=EventData)

Sequence = Annotated[
    int,
    BeforeValidator(lambda value: int(value) if isinstance(value, str) else value),
    PlainSerializer(str, return_type=str, when_used="json"),
]


class Event(BaseModel, Generic[Data]):
    """One CloudEvent.

    ``sequence`` grows per subject (0: the event changes no state, or comes from outside);
    ``traceparent`` is the W3C trace context of the span that caused the event.
    """

    model_config = ConfigDict(extra="ignore", frozen=True)

    specversion: str = Field(default="1.0", pattern=r"^1\.", description="of CloudEvents")
    id: str = Field(min_length=1, max_length=255, description="the same again means the same event")
    source: str = Field(min_length=1, max_length=255, description="who says so: /gateway, /runner, …")
    type: str = Field(min_length=1, max_length=255, description="the topic and the version of its data")
    subject: str | None = Field(default=None, description="what it is about")
    time: datetime = Field(default_factory=lambda: datetime.now(UTC))
    datacontenttype: str = "application/json"
    traceparent: str | None = Field(default=None, description="W3C trace context of what caused it")
    sequence: Sequence = Field(default=0, description="grows per subject; 0: changes no state")
    data: Data

    @classmethod
    def of(cls, data: Data, *, source: str, traceparent: str | None = None, event_id: UUID | None = None) -> Self:
        """Wrap ``data``, with a new UUIDv7 as id unless one is given."""
        return cls(
            id=str(event_id or uuid7()),
            source=source,
            type=data.event_type(),
            subject=data.subject(),
            traceparent=traceparent,
            data=data,
        )
