"""Instances and the routing epoch: what routers are told, and when an instance was last seen."""

from __future__ import annotations

from datetime import timedelta
from typing import TYPE_CHECKING, Any, NamedTuple

import sqlalchemy as sa
from sqlalchemy.dialects.postgresql import JSONB
from sqlalchemy.orm import defer

from algodock_common.database import inbox
from algodock_common.events import ReleaseChanged
from algodock_registry.repository.models import Instance, RoutingEpoch

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence
    from datetime import datetime
    from uuid import UUID

    from sqlalchemy.ext.asyncio import AsyncSession

    from algodock_common.events import InstanceState

__all__ = ["Beat", "Instances"]

LOOPBACK = ("127.0.0.1", "localhost", "::1")
_PRESENT = Instance.state != "gone"


class Beat(NamedTuple):
    """What an instance said of itself."""

    instance_id: UUID
    status: str
    metrics: dict[str, float]


class Instances:
    """The instances, within one transaction or reading."""

    def __init__(self, session: AsyncSession) -> None:
        """Work in ``session``."""
        self._session = session

    # ── one change ───────────────────────────────────────────────────────────────────────────────

    async def add(self, instance: Instance) -> None:
        """Write a new row and read back the times that the database gave it."""
        self._session.add(instance)
        await self._session.flush()
        await self._session.refresh(instance, ["created_at", "changed_at"])

    async def raise_epoch(self, by: int) -> int:
        """Raise the routing epoch and return its new value; other changes wait for this transaction's end."""
        statement = sa.update(RoutingEpoch).values(epoch=RoutingEpoch.epoch + by).returning(RoutingEpoch.epoch)
        return (await self._session.execute(statement)).scalar_one()

    async def turn(self, instance: Instance, to: InstanceState, epoch: int, *, look_in: timedelta | None) -> None:
        """Write a state; ``look_in`` is when its health is looked at next (None: never)."""
        instance.state = to
        instance.epoch = epoch
        instance.missed = 0
        await self._session.flush()
        await self._session.execute(
            sa.update(Instance)
            .where(Instance.id == instance.id)
            .values(changed_at=sa.func.now(), look_at=None if look_in is None else sa.func.now() + look_in)
            .execution_options(synchronize_session=False)
        )

    # ── reading ──────────────────────────────────────────────────────────────────────────────────

    async def routes(self) -> tuple[int, Sequence[Instance]]:
        """Return the epoch and every instance that is not gone, both of one moment."""
        query = (
            sa.select(RoutingEpoch.epoch, Instance)
            .outerjoin(Instance, _PRESENT)
            .order_by(Instance.id)
            .options(defer(Instance.metrics))
        )
        rows = (await self._session.execute(query)).all()
        # An outer join: one row without an instance when there is none.
        found: Iterable[Instance | None] = (row.Instance for row in rows)
        return rows[0].epoch, [instance for instance in found if instance is not None]

    async def find(
        self, *, algorithm: str | None = None, node_id: str | None = None, gone: bool = False
    ) -> Sequence[Instance]:
        """Return instances, oldest first."""
        query = sa.select(Instance).order_by(Instance.id)
        if not gone:
            query = query.where(_PRESENT)
        if algorithm is not None:
            query = query.where(Instance.algorithm == algorithm)
        if node_id is not None:
            query = query.where(Instance.node_id == node_id)
        return (await self._session.execute(query)).scalars().all()

    async def known(self, algorithm: str) -> bool:
        """Say whether an instance of this algorithm was ever registered and not yet forgotten."""
        query = sa.select(sa.exists().where(Instance.algorithm == algorithm))
        return bool((await self._session.execute(query)).scalar_one())

    async def elsewhere(self, algorithm: str, base_url: str) -> Instance | None:
        """Return the service that registered itself with this URL, locked."""
        query = (
            sa.select(Instance)
            .where(Instance.algorithm == algorithm, Instance.base_url == base_url)
            .where(Instance.release_id.is_(None), _PRESENT)
            .with_for_update()
        )
        return (await self._session.execute(query)).scalar_one_or_none()

    async def lock(self, ids: Iterable[UUID]) -> dict[UUID, Instance]:
        """Return these instances, locked; always in the same order, so that nobody waits in a circle."""
        query = sa.select(Instance).where(Instance.id.in_(list(ids))).order_by(Instance.id).with_for_update()
        return {one.id: one for one in (await self._session.execute(query)).scalars()}

    async def lock_present(self, algorithm: str) -> dict[UUID, Instance]:
        """Return the algorithm's instances that are not gone, locked."""
        query = (
            sa.select(Instance).where(Instance.algorithm == algorithm, _PRESENT).order_by(Instance.id).with_for_update()
        )
        return {one.id: one for one in (await self._session.execute(query)).scalars()}

    # ── health ───────────────────────────────────────────────────────────────────────────────────

    async def claim_looks(self, node_id: str, interval: timedelta, limit: int) -> tuple[Sequence[Instance], float]:
        """Take the instances whose health is due to be looked at, and put their next look an interval on.

        Only what this node can reach: a loopback address means the node's own. The second answer is
        in how many seconds the next one is due (at most ``interval``).
        """
        mine = sa.and_(
            Instance.state.in_(["ready", "silent"]),
            sa.or_(Instance.node_id == node_id, Instance.host.not_in(LOOPBACK)),
        )
        due = (
            sa.select(Instance.id)
            .where(mine, Instance.look_at <= sa.func.now())
            .order_by(Instance.look_at)
            .limit(limit)
            .with_for_update(skip_locked=True)
        )
        ids = (await self._session.execute(due)).scalars().all()
        taken: Sequence[Instance] = []
        if ids:
            statement = (
                sa.update(Instance)
                .where(Instance.id.in_(ids))
                .values(look_at=sa.func.now() + interval)
                .returning(Instance)
            )
            taken = (await self._session.execute(statement)).scalars().all()
        wait = sa.select(sa.extract("epoch", sa.func.min(Instance.look_at) - sa.func.now())).where(mine)
        seconds: float | None = (await self._session.execute(wait)).scalar_one()
        longest = interval.total_seconds()
        return taken, longest if seconds is None else min(longest, max(0.0, float(seconds)))

    async def note_beats(self, beats: Sequence[Beat], look_in: timedelta) -> dict[UUID, InstanceState]:
        """Write what instances said; return the state of those that are not gone."""
        await self._hold(beat.instance_id for beat in beats)
        values = sa.values(
            sa.column("id", sa.Uuid), sa.column("status", sa.Text), sa.column("metrics", JSONB), name="beats"
        ).data([tuple(beat) for beat in beats])
        statement = (
            sa.update(Instance)
            .where(Instance.id == values.c.id, _PRESENT)
            .values(
                status=values.c.status,
                metrics=sa.cast(values.c.metrics, JSONB),
                sends_heartbeats=True,
                missed=0,
                seen_at=sa.func.now(),
                look_at=sa.case((Instance.state.in_(["ready", "silent"]), sa.func.now() + look_in)),
            )
            .returning(Instance.id, Instance.state)
            .execution_options(synchronize_session=False)
        )
        return {row.id: row.state for row in await self._session.execute(statement)}

    async def note_seen(self, ids: Iterable[UUID]) -> None:
        """Write that these instances answered."""
        await self._session.execute(
            sa.update(Instance)
            .where(Instance.id.in_(list(ids)))
            .values(missed=0, seen_at=sa.func.now())
            .execution_options(synchronize_session=False)
        )

    async def _hold(self, ids: Iterable[UUID]) -> None:
        """Lock rows in the one order before a statement that would lock them in any."""
        query = sa.select(Instance.id).where(Instance.id.in_(list(ids))).order_by(Instance.id).with_for_update()
        await self._session.execute(query)

    # ── repair ───────────────────────────────────────────────────────────────────────────────────

    async def applied_sequence(self, algorithm: str) -> int | None:
        """Return the sequence of the release event applied last; None: none yet."""
        query = sa.select(inbox.c.sequence).where(inbox.c.topic == ReleaseChanged.topic, inbox.c.subject == algorithm)
        sequence: int | None = (await self._session.execute(query)).scalar_one_or_none()
        return sequence

    async def lock_algorithm(self, algorithm: str) -> None:
        """Let whoever decides on this algorithm's routing take turns until the transaction ends."""
        await self._session.execute(
            sa.select(sa.func.pg_advisory_xact_lock(sa.func.hashtextextended(f"registry/{algorithm}", 0)))
        )

    async def suspicious(self, starting: timedelta, draining: timedelta, *, everything: bool) -> list[str]:
        """Return the algorithms with deployed instances that stand still, or miss looks; or all of them."""
        now = sa.func.now()
        odd = sa.or_(
            sa.and_(Instance.state == "starting", Instance.changed_at < now - starting),
            sa.and_(Instance.state == "draining", Instance.changed_at < now - draining),
            sa.and_(Instance.state.in_(["ready", "silent"]), Instance.missed > 0),
        )
        query = sa.select(Instance.algorithm).where(_PRESENT, Instance.release_id.is_not(None)).distinct()
        if not everything:
            query = query.where(odd)
        return list((await self._session.execute(query)).scalars())

    async def lost_elsewhere(self, silent_for: timedelta) -> Sequence[UUID]:
        """Return the services that came by a beat and have been silent for so long."""
        query = sa.select(Instance.id).where(
            Instance.release_id.is_(None),
            Instance.sends_heartbeats,
            Instance.state == "silent",
            Instance.changed_at < sa.func.now() - silent_for,
        )
        return (await self._session.execute(query)).scalars().all()

    async def forget(self, gone_for: timedelta) -> int:
        """Delete the rows of instances that went long ago; return how many."""
        statement = sa.delete(Instance).where(Instance.state == "gone", Instance.changed_at < sa.func.now() - gone_for)
        result: Any = await self._session.execute(statement)
        return int(result.rowcount)

    async def now(self) -> datetime:
        """Return the database's time."""
        return (await self._session.execute(sa.select(sa.func.now()))).scalar_one()
