"""``algorithm_services``: one row an algorithm, and the claim that lets one worker at a time change it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any
from uuid import UUID

import sqlalchemy as sa
from sqlalchemy.dialects.postgresql import insert

from algodock_deployer.domain.releases import Service
from algodock_deployer.repository.tables import claims, operations, releases, service_groups, services

if TYPE_CHECKING:
    from collections.abc import Sequence

    from sqlalchemy.ext.asyncio import AsyncSession

__all__ = ["Services"]


def _since(*times: sa.ColumnElement[Any]) -> sa.ColumnElement[Any]:
    """Return the seconds since the last of ``times``, else since the service was made."""
    last = sa.func.coalesce(sa.func.greatest(*times), services.c.created_at)
    return sa.cast(sa.extract("epoch", sa.func.clock_timestamp() - last), sa.Double)


_COLUMNS = (
    services.c.id, services.c.name, services.c.number, claims.c.node_id, services.c.desired, services.c.status,
    services.c.health, services.c.message, services.c.live_release_id, service_groups.c.name.label("group"),
    services.c.created_at, services.c.updated_at, services.c.instances, services.c.scale_rule,
    _since(services.c.busy_at, services.c.scaled_at).label("quiet_s"), _since(services.c.scaled_at).label("settled_s"),
)  # fmt: skip
_JOINED = services.outerjoin(service_groups, service_groups.c.id == services.c.group_id).outerjoin(
    claims, claims.c.service_id == services.c.id
)


def _service(row: Any) -> Service:
    return Service(**row._asdict())


class Services:
    """Reads and writes services in the caller's transaction."""

    def __init__(self, session: AsyncSession) -> None:
        """Use ``session``."""
        self._session = session

    async def put(self, service_id: UUID, name: str) -> None:
        """Make the service's row unless it is there; the name of a removed service is free for another."""
        aside = sa.update(services).where(
            services.c.name == name, services.c.id != service_id, services.c.desired == "removed"
        )
        await self._session.execute(aside.values(name=services.c.name + "~" + sa.cast(services.c.id, sa.Text)))
        service = insert(services).values(id=service_id, name=name)
        await self._session.execute(service.on_conflict_do_nothing(index_elements=["id"]))
        claim = insert(claims).values(service_id=service_id)
        await self._session.execute(claim.on_conflict_do_nothing(index_elements=["service_id"]))

    async def locked(self, service_id: UUID) -> Service | None:
        """Return the service and hold its row until the transaction ends.

        Rows that name the service (a command, a line of its timeline) hold its key meanwhile, so this asks for the
        row without its key: two who wrote such rows first would wait for each other otherwise.
        """
        query = sa.select(*_COLUMNS).select_from(_JOINED).where(services.c.id == service_id)
        row = (await self._session.execute(query.with_for_update(of=services, key_share=True))).first()
        return _service(row) if row else None

    async def speaking_grpc(self) -> Sequence[str]:
        """Return the names of the services whose release is a gRPC service, those that are stopped among them."""
        protocol = releases.c.plan["manifest"]["protocol"].astext
        query = (
            sa.select(services.c.name)
            .join(releases, releases.c.id == services.c.live_release_id)
            .where(protocol == "grpc", services.c.desired != "removed")
        )
        return list((await self._session.execute(query)).scalars())

    async def find(self, name: str) -> Service | None:
        """Return the service of this name or id."""
        try:
            wanted = services.c.id == UUID(name)
        except ValueError:
            wanted = services.c.name == name
        row = (await self._session.execute(sa.select(*_COLUMNS).select_from(_JOINED).where(wanted))).first()
        return _service(row) if row else None

    async def all(self, name: str | None = None, *, removed: bool = False) -> Sequence[Service]:
        """Return all services by name; those that were removed only when asked for."""
        query = sa.select(*_COLUMNS).select_from(_JOINED).order_by(services.c.name)
        if name is not None:
            query = query.where(services.c.name == name)
        if not removed:
            query = query.where(services.c.desired != "removed")
        return [_service(row) for row in await self._session.execute(query)]

    async def update(self, service_id: UUID, **values: Any) -> Service:
        """Set columns and return the service as it is then."""
        statement = sa.update(services).where(services.c.id == service_id)
        await self._session.execute(statement.values(updated_at=sa.func.now(), **values))
        service = await self.locked(service_id)
        if service is None:
            msg = f"service {service_id} is gone"
            raise LookupError(msg)
        return service

    async def ruled(self) -> Sequence[Service]:
        """Return the services that run by a rule."""
        query = sa.select(*_COLUMNS).select_from(_JOINED).where(
            services.c.scale_rule.is_not(None),
            services.c.desired == "running",
            services.c.live_release_id.is_not(None),
        )  # fmt: skip
        return [_service(row) for row in await self._session.execute(query)]

    async def were_busy(self, service_ids: Sequence[UUID]) -> None:
        """Note that calls or tasks of these services are open or wait."""
        statement = sa.update(services).where(services.c.id.in_(service_ids))
        await self._session.execute(statement.values(busy_at=sa.func.now()))

    async def scaled(self, service_id: UUID, *, instances: int) -> Service:
        """Note how many instances it was scaled to, just now."""
        return await self.update(service_id, instances=instances, scaled_at=sa.func.now())

    async def claim(self, node_id: str, *, limit: int, lease_s: float) -> Sequence[UUID]:
        """Claim services of this node, or of none yet, that have work waiting; oldest work first."""
        waiting = sa.union_all(
            sa.select(releases.c.service_id, releases.c.created_at).where(
                releases.c.state.in_(("queued", "building", "starting", "checking"))
            ),
            sa.select(operations.c.service_id, operations.c.created_at).where(
                operations.c.state.in_(("queued", "running"))
            ),
        ).subquery()
        since = (
            sa.select(sa.func.min(waiting.c.created_at))
            .where(waiting.c.service_id == claims.c.service_id)
            .scalar_subquery()
        )
        free = (
            sa.select(claims.c.service_id)
            .where(
                claims.c.service_id.in_(sa.select(waiting.c.service_id)),
                sa.or_(claims.c.claimed_until.is_(None), claims.c.claimed_until < sa.func.now()),
                sa.or_(claims.c.node_id.is_(None), claims.c.node_id == node_id),
            )
            .order_by(since)
            .limit(limit)
            .with_for_update(skip_locked=True)
        )
        statement = (
            sa.update(claims)
            .where(claims.c.service_id.in_(free))
            .values(claimed_until=_in(lease_s), node_id=node_id)
            .returning(claims.c.service_id)
        )
        return list((await self._session.execute(statement)).scalars())

    async def renew(self, service_ids: Sequence[UUID], lease_s: float) -> None:
        """Keep claims alive."""
        statement = sa.update(claims).where(claims.c.service_id.in_(service_ids))
        await self._session.execute(statement.values(claimed_until=_in(lease_s)))

    async def unclaim(self, service_id: UUID) -> None:
        """Give a claim back."""
        statement = sa.update(claims).where(claims.c.service_id == service_id)
        await self._session.execute(statement.values(claimed_until=None))

    async def unclaim_node(self, node_id: str) -> None:
        """Give back what an earlier process of this node had claimed: there is one deployer a node."""
        await self._session.execute(sa.update(claims).where(claims.c.node_id == node_id).values(claimed_until=None))


def _in(seconds: float) -> sa.ColumnElement[Any]:
    return sa.func.now() + sa.func.make_interval(0, 0, 0, 0, 0, 0, seconds)
