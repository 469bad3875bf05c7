"""API keys: digests and encrypted callback secrets; no key is ever stored."""

from __future__ import annotations

from typing import TYPE_CHECKING

import sqlalchemy as sa

from algodock_gateway.domain.keys import ApiKey
from algodock_gateway.repository.tables import api_keys

if TYPE_CHECKING:
    from collections.abc import Mapping

    from sqlalchemy.ext.asyncio import AsyncSession

    from algodock_common.database import Database

__all__ = ["KeyStore", "Keys"]

_VALID = api_keys.c.revoked_at.is_(None)
_COLUMNS = (api_keys.c.digest, api_keys.c.id, api_keys.c.name, api_keys.c.roles)


class Keys:
    """API keys within one transaction."""

    def __init__(self, session: AsyncSession) -> None:
        """Work in ``session``."""
        self._session = session

    async def hold(self) -> None:
        """Let nobody else make a first key until this transaction ends."""
        await self._session.execute(sa.text("LOCK TABLE api_keys IN SHARE ROW EXCLUSIVE MODE"))

    async def any(self) -> bool:
        """Say whether there is any key."""
        return bool((await self._session.execute(sa.select(sa.exists().where(_VALID)))).scalar_one())

    async def add(self, key: ApiKey, *, digest: bytes, callback_secret: bytes) -> None:
        """Write a new key; ``callback_secret`` comes encrypted."""
        await self._session.execute(
            sa.insert(api_keys).values(
                id=key.id, digest=digest, name=key.name, roles=list(key.roles), callback_secret=callback_secret
            )
        )


class KeyStore:
    """Reads keys for the ring in memory, each time in a session of its own."""

    def __init__(self, database: Database) -> None:
        """Keep the database; nothing is read."""
        self._database = database

    async def all_keys(self) -> Mapping[bytes, ApiKey]:
        """Return every valid key by its digest."""
        async with self._database.read() as session:
            rows = await session.execute(sa.select(*_COLUMNS).where(_VALID))
            return {row.digest: ApiKey(row.id, row.name, tuple(row.roles)) for row in rows}

    async def key_of(self, digest: bytes) -> ApiKey | None:
        """Return one valid key."""
        async with self._database.read() as session:
            query = sa.select(*_COLUMNS).where(api_keys.c.digest == digest, _VALID)
            row = (await session.execute(query)).first()
            return None if row is None else ApiKey(row.id, row.name, tuple(row.roles))
