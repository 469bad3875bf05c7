"""Step 3, register: where an algorithm can be called (registry to every router)."""

from __future__ import annotations

from typing import ClassVar, Literal
from uuid import UUID

from pydantic import Field

from algodock_common.events.envelope import EventData
from algodock_common.events.release import Limits
from algodock_common.identifiers import AlgorithmName

__all__ = ["InstanceChanged", "InstanceState"]

InstanceState = Literal["starting", "ready", "silent", "draining", "gone"]


class InstanceChanged(EventData):
    """An instance as it stands now; routers send calls to those that are ``ready``.

    ``epoch`` is the registry's routing epoch: it grows with every change, and a router that has
    applied this event has applied every epoch up to it.
    """

    topic: ClassVar[str] = "instance.events"

    instance_id: UUID
    algorithm_id: UUID
    algorithm: AlgorithmName
    node_id: str
    host: str
    port: int = Field(ge=1, le=65535)
    base_url: str = Field(
        description="http://host:port, with a path for what runs elsewhere; grpc://host:port speaks gRPC"
    )
    release_id: UUID | None = Field(default=None, description="none: registered by itself")
    commit: str = ""
    config_version: int | None = Field(default=None, description="of its release's configuration")
    state: InstanceState
    weight: int = Field(default=1, ge=0)
    limits: Limits = Field(default_factory=Limits)
    epoch: int = Field(ge=1)
    trace: str | None = Field(default=None, description="traceparent of its deploy: what it serves links there")

    def subject(self) -> str:
        """Return the instance."""
        return str(self.instance_id)

    def key(self) -> str:
        """Return the algorithm, so that its instances' events keep their order."""
        return self.algorithm
