"""The secrets that sign callbacks: a key's own, and those before it that are still valid; all encrypted."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import TYPE_CHECKING

import sqlalchemy as sa

if TYPE_CHECKING:
    from uuid import UUID

    from sqlalchemy.ext.asyncio import AsyncSession

__all__ = ["CallbackSecretRows", "SealedSecret"]

_VALID = sa.text("""
SELECT callback_secret AS secret, callback_secret_changed_at AS since, CAST(NULL AS timestamptz) AS valid_until
FROM api_keys WHERE id = :key_id AND revoked_at IS NULL
UNION ALL
SELECT r.secret, r.retired_at, r.valid_until FROM retired_callback_secrets AS r JOIN api_keys AS k ON k.id = r.key_id
WHERE r.key_id = :key_id AND r.valid_until > now() AND k.revoked_at IS NULL
ORDER BY valid_until DESC NULLS FIRST
""")

_LOCK = sa.text("SELECT digest FROM api_keys WHERE id = :key_id AND revoked_at IS NULL FOR UPDATE")
_FORGET = sa.text("DELETE FROM retired_callback_secrets WHERE key_id = :key_id AND (:all OR valid_until <= now())")
_RETIRE = sa.text("""
INSERT INTO retired_callback_secrets (key_id, secret, valid_until)
SELECT id, callback_secret, now() + make_interval(secs => :grace_s) FROM api_keys WHERE id = :key_id
""")
_REPLACE = sa.text(
    "UPDATE api_keys SET callback_secret = :secret, callback_secret_changed_at = now() WHERE id = :key_id"
)
_OWNER = sa.text("SELECT id, callback_secret FROM api_keys WHERE digest = :digest AND revoked_at IS NULL")


@dataclass(frozen=True, slots=True)
class SealedSecret:
    """A valid secret, encrypted; ``valid_until`` None: the key's own. ``since``: made then, or replaced then."""

    secret: bytes
    since: datetime
    valid_until: datetime | None


class CallbackSecretRows:
    """Callback secrets within one transaction, or one session that only reads."""

    def __init__(self, session: AsyncSession) -> None:
        """Work in ``session``."""
        self._session = session

    async def valid(self, key_id: UUID) -> list[SealedSecret]:
        """Return a key's valid secrets, its own first; none when there is no such key."""
        rows = await self._session.execute(_VALID, {"key_id": key_id})
        return [SealedSecret(**row) for row in rows.mappings()]

    async def lock(self, key_id: UUID) -> bytes | None:
        """Let nobody else replace the key's secret until this transaction ends; return the key's digest."""
        digest: bytes | None = (await self._session.execute(_LOCK, {"key_id": key_id})).scalar_one_or_none()
        return digest

    async def replace(self, key_id: UUID, secret: bytes, *, grace_s: float) -> None:
        """Write a key's new secret; the one before it stays valid for ``grace_s`` seconds.

        With no grace at all every earlier one ends: a secret has become known.
        """
        await self._session.execute(_FORGET, {"key_id": key_id, "all": grace_s <= 0})
        if grace_s > 0:
            await self._session.execute(_RETIRE, {"key_id": key_id, "grace_s": grace_s})
        await self._session.execute(_REPLACE, {"key_id": key_id, "secret": secret})

    async def of_key(self, digest: bytes) -> tuple[UUID, bytes] | None:
        """Return the id and the secret of the key with this digest."""
        row = (await self._session.execute(_OWNER, {"digest": digest})).first()
        return None if row is None else (row.id, row.callback_secret)
