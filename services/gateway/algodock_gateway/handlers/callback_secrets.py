"""What signs callbacks: told to the runner, replaced by their owners, shown to nobody twice."""

from __future__ import annotations

import asyncio
import hashlib
import json
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Final

import structlog

from algodock_common.errors import NotFound
from algodock_gateway.domain.errors import RotatedTooOften
from algodock_gateway.domain.keys import fingerprint, new_callback_secret
from algodock_gateway.handlers.credentials import write_private
from algodock_gateway.repository.callback_secrets import CallbackSecretRows, SealedSecret

if TYPE_CHECKING:
    from uuid import UUID

    from algodock_common.database import Database
    from algodock_gateway.handlers.credentials import SecretBox

__all__ = ["CallbackSecrets", "Rotated", "SecretStatus"]

MOST_VALID: Final = 3
"""A rotation whose answer was lost is followed by another one; the receivers' secret outlives both."""

log = structlog.get_logger()


@dataclass(frozen=True, slots=True)
class SecretStatus:
    """A valid secret without the secret: ``fingerprint`` begins its SHA-256."""

    fingerprint: str
    since: datetime
    valid_until: datetime | None


@dataclass(frozen=True, slots=True)
class Rotated:
    """A new secret, and how all valid ones stand, the new one first."""

    secret: str
    valid: list[SecretStatus]


class CallbackSecrets:
    """Callback secrets, decrypted where they are needed."""

    def __init__(self, database: Database, box: SecretBox, *, file: Path, grace_s: float) -> None:
        """``file`` is where the first key's secret lies; ``grace_s`` how long a replaced one stays valid."""
        self._database = database
        self._box = box
        self._file = file
        self._grace_s = grace_s

    async def valid(self, key_id: UUID) -> list[str]:
        """Return the secrets that callbacks of this key's tasks are signed with, the newest first.

        Raises:
            NotFound: there is no such key any more.
        """
        return [self._box.open(one.secret, row=key_id) for one in await self._rows(key_id)]

    async def status(self, key_id: UUID) -> list[SecretStatus]:
        """Return how a key's valid secrets stand, the newest first.

        Raises:
            NotFound: there is no such key any more.
        """
        return self._statuses(key_id, await self._rows(key_id))

    async def rotate(self, key_id: UUID, *, grace_s: float | None = None) -> Rotated:
        """Replace a key's secret; both sign until the grace (seconds; default: the configured one) is over.

        With a grace of 0 only the new one is valid. The first key's file gets it after the commit: a
        crash in between leaves the one before, which is valid for the grace, and the next start heals it.

        Raises:
            NotFound: there is no such key any more.
            RotatedTooOften: too many replaced ones are still valid.
        """
        secret = new_callback_secret()
        async with self._database.transaction() as tx:
            rows = CallbackSecretRows(tx.session)
            digest = await rows.lock(key_id)
            if digest is None:
                raise _no_key(key_id)
            grace_s = self._grace_s if grace_s is None else grace_s
            before = await rows.valid(key_id)
            if grace_s > 0 and len(before) >= MOST_VALID:
                raise RotatedTooOften(before[-1].valid_until)
            await rows.replace(key_id, self._box.seal(secret, row=key_id), grace_s=grace_s)
            valid = self._statuses(key_id, await rows.valid(key_id))
        log.info("callback_secret.rotated", key_id=str(key_id), valid=len(valid))
        await asyncio.to_thread(_keep, self._file, digest, secret)
        return Rotated(secret, valid)

    async def heal_file(self) -> None:
        """Have the newest secret of the key in the file beside it: a crash may have come before it was written."""
        from cryptography.exceptions import InvalidTag  # late, as the cipher itself

        document = await asyncio.to_thread(_read, self._file)
        if document is None:
            return
        digest = fingerprint(document.get("api_key", "").encode())
        async with self._database.read() as session:
            found = await CallbackSecretRows(session).of_key(digest)
        if found is None:
            return
        try:
            secret = self._box.open(found[1], row=found[0])
        except InvalidTag:
            log.warning("callback_secret.unreadable", key_id=str(found[0]), why="SECRET_KEY is another than it was")
            return
        await asyncio.to_thread(_keep, self._file, digest, secret)

    async def _rows(self, key_id: UUID) -> list[SealedSecret]:
        async with self._database.read() as session:
            found = await CallbackSecretRows(session).valid(key_id)
        if not found:
            raise _no_key(key_id)
        return found

    def _statuses(self, key_id: UUID, rows: list[SealedSecret]) -> list[SecretStatus]:
        return [
            SecretStatus(_shown(self._box.open(one.secret, row=key_id)), one.since, one.valid_until) for one in rows
        ]


def _no_key(key_id: UUID) -> NotFound:
    return NotFound(f"There is no key {key_id}.")


def _shown(secret: str) -> str:
    return hashlib.sha256(secret.encode()).hexdigest()[:12]


def _read(file: Path) -> dict[str, str] | None:
    try:
        document: dict[str, str] = json.loads(file.read_text())
    except FileNotFoundError:
        return None
    return document


def _keep(file: Path, digest: bytes, secret: str) -> None:
    """Write the secret into the file if it is that key's."""
    document = _read(file)
    if document is None or fingerprint(document.get("api_key", "").encode()) != digest:
        return
    if document.get("callback_secret") != secret:
        write_private(file, document | {"callback_secret": secret})
