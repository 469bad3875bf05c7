"""The registry's rows: instances, the ports they lease and the routing epoch."""

from __future__ import annotations

from datetime import datetime
from typing import Any
from uuid import UUID

import sqlalchemy as sa
from sqlalchemy.dialects.postgresql import JSONB
from sqlalchemy.orm import DeclarativeBase, Mapped, mapped_column

from algodock_common.events import InstanceChanged, InstanceState, Limits

__all__ = ["BlockedPort", "Instance", "PortCursor", "PortLease", "RoutingEpoch"]


class Base(DeclarativeBase):
    """What the registry's rows have in common; the schema comes from the search path."""

    type_annotation_map = {  # noqa: RUF012  # SQLAlchemy's own declaration
        datetime: sa.DateTime(timezone=True),
        dict[str, Any]: JSONB,
        InstanceState: sa.Text,
    }


class Instance(Base):
    """One running copy of an algorithm, or a service that runs elsewhere (no release)."""

    __tablename__ = "instances"

    id: Mapped[UUID] = mapped_column(primary_key=True)
    algorithm_id: Mapped[UUID]
    algorithm: Mapped[str]
    release_id: Mapped[UUID | None]
    commit: Mapped[str]
    config_version: Mapped[int | None] = mapped_column(sa.BigInteger)
    ordinal: Mapped[int]
    node_id: Mapped[str]
    host: Mapped[str]
    port: Mapped[int]
    base_url: Mapped[str]
    health_path: Mapped[str]
    sends_heartbeats: Mapped[bool]
    weight: Mapped[int]
    limits: Mapped[dict[str, Any]]
    state: Mapped[InstanceState]
    epoch: Mapped[int] = mapped_column(sa.BigInteger)
    trace: Mapped[str | None]
    missed: Mapped[int] = mapped_column(sa.SmallInteger, default=0)
    status: Mapped[str] = mapped_column(default="")
    metrics: Mapped[dict[str, Any]] = mapped_column(default=dict)
    look_at: Mapped[datetime | None]
    seen_at: Mapped[datetime | None]
    created_at: Mapped[datetime] = mapped_column(server_default=sa.func.now())
    changed_at: Mapped[datetime] = mapped_column(server_default=sa.func.now())

    def as_event(self) -> InstanceChanged:
        """Return the event that tells of this row as it stands."""
        return InstanceChanged(
            instance_id=self.id,
            algorithm_id=self.algorithm_id,
            algorithm=self.algorithm,
            node_id=self.node_id,
            host=self.host,
            port=self.port,
            base_url=self.base_url,
            release_id=self.release_id,
            commit=self.commit,
            config_version=self.config_version,
            state=self.state,
            weight=self.weight,
            limits=Limits.model_validate(self.limits),
            epoch=self.epoch,
            trace=self.trace,
        )


class PortLease(Base):
    """A port of a node that belongs to one instance."""

    __tablename__ = "port_leases"

    node_id: Mapped[str] = mapped_column(primary_key=True)
    port: Mapped[int] = mapped_column(primary_key=True)
    instance_id: Mapped[UUID] = mapped_column(sa.ForeignKey("instances.id", ondelete="CASCADE"), unique=True)
    pinned: Mapped[bool]
    leased_at: Mapped[datetime] = mapped_column(server_default=sa.func.now())


class BlockedPort(Base):
    """A port of a node that a program outside the platform uses; it is leased to nobody for a while."""

    __tablename__ = "blocked_ports"

    node_id: Mapped[str] = mapped_column(primary_key=True)
    port: Mapped[int] = mapped_column(primary_key=True)
    until: Mapped[datetime]


class PortCursor(Base):
    """Where the last search for a port ended, one row a node; its lock makes searches take turns."""

    __tablename__ = "port_cursors"

    node_id: Mapped[str] = mapped_column(primary_key=True)
    last_port: Mapped[int | None]


class RoutingEpoch(Base):
    """The one counter that every change of routing raises; its lock makes changes take turns."""

    __tablename__ = "routing_epoch"

    id: Mapped[int] = mapped_column(sa.SmallInteger, primary_key=True)
    epoch: Mapped[int] = mapped_column(sa.BigInteger)
