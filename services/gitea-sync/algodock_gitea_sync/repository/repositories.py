"""SQL of ``algorithm_repositories``."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import sqlalchemy as sa

from algodock_gitea_sync.domain.repository import ForgeKind, Repository
from algodock_gitea_sync.repository.tables import algorithm_repositories as table

if TYPE_CHECKING:
    from collections.abc import Sequence
    from uuid import UUID

    from sqlalchemy.ext.asyncio import AsyncSession

__all__ = [
    "add",
    "by_algorithm",
    "by_full_name",
    "by_id",
    "claim_for_poll",
    "insert_lock",
    "last_seen_commits",
    "saw",
    "secret_of",
    "update",
]

_POLL_BATCH = 200


def _repository(row: sa.Row[Any]) -> Repository:
    return Repository(
        id=row.id,
        algorithm_id=row.algorithm_id,
        algorithm=row.algorithm,
        forge=ForgeKind(row.forge),
        full_name=row.full_name,
        clone_url=row.clone_url,
        branch=row.branch,
        archived=row.archived,
        last_seen_commit=row.last_seen_commit,
        last_seen_at=row.last_seen_at,
        last_problem=row.last_problem,
    )


async def by_id(session: AsyncSession, repository_id: UUID, *, lock: bool = False) -> Repository | None:
    """Return a repository; with ``lock`` nobody else changes it before this transaction ends."""
    query = sa.select(table).where(table.c.id == repository_id)
    row = (await session.execute(query.with_for_update(key_share=True) if lock else query)).one_or_none()
    return None if row is None else _repository(row)


async def by_algorithm(session: AsyncSession, algorithm: str, *, lock: bool = False) -> Repository | None:
    """Return the repository of the algorithm with this name."""
    query = sa.select(table).where(table.c.algorithm == algorithm)
    row = (await session.execute(query.with_for_update(key_share=True) if lock else query)).one_or_none()
    return None if row is None else _repository(row)


async def by_full_name(session: AsyncSession, full_name: str) -> Sequence[tuple[Repository, bytes]]:
    """Return the repositories of this owner/name, on whichever forge, with their encrypted secrets."""
    rows = (await session.execute(sa.select(table).where(table.c.full_name == full_name).limit(20))).all()
    return [(_repository(row), row.secret) for row in rows]


async def secret_of(session: AsyncSession, repository_id: UUID) -> bytes | None:
    """Return a repository's encrypted secret."""
    return await session.scalar(sa.select(table.c.secret).where(table.c.id == repository_id))


async def insert_lock(session: AsyncSession, algorithm: str) -> None:
    """Let one transaction at a time make the repository of an algorithm."""
    await session.execute(sa.select(sa.func.pg_advisory_xact_lock(sa.func.hashtext(f"repository/{algorithm}"))))


async def add(session: AsyncSession, repository: Repository, *, owner: str, node_id: str, secret: bytes) -> None:
    """Write a new repository."""
    await session.execute(
        sa.insert(table).values(
            id=repository.id,
            algorithm_id=repository.algorithm_id,
            algorithm=repository.algorithm,
            owner=owner,
            forge=repository.forge.value,
            node_id=node_id if repository.forge is ForgeKind.BUILTIN else None,
            full_name=repository.full_name,
            clone_url=repository.clone_url,
            branch=repository.branch,
            secret=secret,
        )
    )


async def update(session: AsyncSession, repository_id: UUID, **changes: object) -> None:
    """Change columns of a repository."""
    await session.execute(
        sa.update(table).where(table.c.id == repository_id).values(**changes, updated_at=sa.func.now())
    )


async def saw(session: AsyncSession, repository_id: UUID, commit: str, problem: str | None) -> None:
    """Note the head that was seen, and why it is no source bundle if it is none."""
    await update(session, repository_id, last_seen_commit=commit, last_seen_at=sa.func.now(), last_problem=problem)


async def claim_for_poll(session: AsyncSession, *, node_id: str, older_than_s: float) -> Sequence[Repository]:
    """Take the repositories that nobody has looked at for a while; replicas share them by the row locks."""
    due = (
        sa.select(table.c.id)
        .where(
            ~table.c.archived,
            sa.or_(table.c.node_id.is_(None), table.c.node_id == node_id),
            sa.or_(
                table.c.polled_at.is_(None),
                table.c.polled_at <= sa.func.now() - sa.func.make_interval(0, 0, 0, 0, 0, 0, older_than_s),
            ),
        )
        .order_by(table.c.polled_at.nulls_first())
        .limit(_POLL_BATCH)
        .with_for_update(skip_locked=True)
    )
    claim = sa.update(table).where(table.c.id.in_(due)).values(polled_at=sa.func.now()).returning(table)
    return [_repository(row) for row in (await session.execute(claim)).all()]


async def last_seen_commits(session: AsyncSession) -> set[tuple[UUID, str]]:
    """Return every repository's last seen commit."""
    query = sa.select(table.c.id, table.c.last_seen_commit).where(table.c.last_seen_commit.is_not(None))
    return {(row.id, row.last_seen_commit) for row in (await session.execute(query)).all()}
