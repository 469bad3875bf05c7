"""Dead letters: messages that no retry can help, as they came, with the reason."""

from __future__ import annotations

import base64
from datetime import datetime
from typing import ClassVar

from pydantic import Field

from algodock_common.events.envelope import EventData

__all__ = ["DeadLetter"]


class DeadLetter(EventData):
    """One message that its consumer gave up; ``value`` and the headers' values are base64."""

    topic: ClassVar[str] = "dead.letters"

    origin_topic: str
    origin_partition: int
    origin_offset: int
    consumer: str = Field(description="the consumer group, or the broadcast consumer's name")
    message_key: str | None = None
    value: str
    cut: bool = Field(default=False, description="the value is only the message's beginning: the whole was too large")
    headers: dict[str, str] = Field(default_factory=dict)
    error_type: str
    reason: str
    attempts: int = Field(ge=1)
    received_at: datetime | None = None

    def subject(self) -> str:
        """Return the origin topic."""
        return self.origin_topic

    def raw(self) -> bytes:
        """Return the message's value as it came."""
        return base64.b64decode(self.value)
