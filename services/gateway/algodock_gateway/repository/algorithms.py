"""Algorithms: made once, found by name or id."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any
from uuid import UUID

import sqlalchemy as sa
from sqlalchemy.dialects.postgresql import JSONB, insert

from algodock_common.events import AlgorithmLimits
from algodock_common.identifiers import DNS_LABEL
from algodock_gateway.domain.algorithm import Algorithm
from algodock_gateway.repository.tables import algorithms

if TYPE_CHECKING:
    from collections.abc import Mapping

    from sqlalchemy.ext.asyncio import AsyncSession

    from algodock_common.database import Database

__all__ = ["AlgorithmStore", "Algorithms"]

_COLUMNS = tuple(algorithms.c[name] for name in ("id", "name", "state", "owner", "clone_url", "limits"))


class Algorithms:
    """Algorithms within one transaction."""

    def __init__(self, session: AsyncSession) -> None:
        """Work in ``session``."""
        self._session = session

    async def add(self, algorithm: Algorithm) -> bool:
        """Write a new row; False when the name is taken already."""
        statement = insert(algorithms).values(
            id=algorithm.id, name=algorithm.name, owner=algorithm.owner, clone_url=algorithm.clone_url
        )
        unless_taken = statement.on_conflict_do_nothing(index_elements=[algorithms.c.name]).returning(algorithms.c.id)
        return (await self._session.execute(unless_taken)).first() is not None

    async def by_name(self, name: str) -> Algorithm | None:
        """Return the algorithm of this name."""
        return await self._one(algorithms.c.name == name)

    async def by_id(self, algorithm_id: UUID) -> Algorithm | None:
        """Return the algorithm of this id."""
        return await self._one(algorithms.c.id == algorithm_id)

    async def all(self) -> list[Algorithm]:
        """Return every algorithm, by name."""
        rows = await self._session.execute(sa.select(*_COLUMNS).order_by(algorithms.c.name))
        return [_algorithm(row) for row in rows]

    async def limit(self, algorithm_id: UUID, said: Mapping[str, Any]) -> Algorithm | None:
        """Take over the limits that ``said`` names (None: no limit any more); None when there is no such algorithm."""
        kept = algorithms.c.limits.op("||")(sa.cast(dict(said), JSONB))
        statement = (
            sa.update(algorithms)
            .where(algorithms.c.id == algorithm_id)
            .values(
                limits=sa.func.jsonb_strip_nulls(kept),
                state=sa.case((algorithms.c.state == "created", "changed"), else_=algorithms.c.state),
                changed_at=sa.func.now(),
            )
            .returning(*_COLUMNS)
        )
        row = (await self._session.execute(statement)).first()
        return None if row is None else _algorithm(row)

    async def set_clone_url(self, algorithm_id: UUID, clone_url: str) -> None:
        """Note where the algorithm's repository is cloned from."""
        await self._session.execute(
            sa.update(algorithms)
            .where(algorithms.c.id == algorithm_id)
            .values(clone_url=clone_url, changed_at=sa.func.now())
        )

    async def _one(self, condition: sa.ColumnElement[bool]) -> Algorithm | None:
        row = (await self._session.execute(sa.select(*_COLUMNS).where(condition))).first()
        return None if row is None else _algorithm(row)


def _algorithm(row: sa.Row[Any]) -> Algorithm:
    return Algorithm(row.id, row.name, row.state, row.owner, row.clone_url, AlgorithmLimits.model_validate(row.limits))


class AlgorithmStore:
    """Reads algorithms for the directory in memory, each time in a session of its own."""

    def __init__(self, database: Database) -> None:
        """Keep the database; nothing is read."""
        self._database = database

    async def all_algorithms(self) -> list[Algorithm]:
        """Return every algorithm."""
        async with self._database.read() as session:
            return await Algorithms(session).all()

    async def algorithm(self, name_or_id: str) -> Algorithm | None:
        """Return one algorithm by name or UUID."""
        try:
            algorithm_id = UUID(name_or_id)
        except ValueError:
            algorithm_id = None
            if DNS_LABEL.fullmatch(name_or_id) is None:  # nobody's name; and PostgreSQL takes no zero byte
                return None
        async with self._database.read() as session:
            found = await Algorithms(session).by_name(name_or_id)
            if found is None and algorithm_id is not None:
                found = await Algorithms(session).by_id(algorithm_id)
            return found
