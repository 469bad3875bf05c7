"""API keys' own handlers: the first key at the first start, and whose key it is."""

from __future__ import annotations

import asyncio
import json
import os
from pathlib import Path
from typing import TYPE_CHECKING, Final

import structlog

from algodock_common.identifiers import uuid7
from algodock_gateway.domain import KeyRefused
from algodock_gateway.domain.keys import ApiKey, fingerprint, new_api_key, new_callback_secret
from algodock_gateway.repository import Keys

if TYPE_CHECKING:
    from uuid import UUID

    from algodock_common.database import Database
    from algodock_gateway.handlers.key_ring import KeyRing

__all__ = ["Credentials", "SecretBox", "write_private"]

FIRST_NAME: Final = "admin"
FIRST_ROLES: Final = ("admin", "user")
_NONCE: Final = 12

log = structlog.get_logger()


class SecretBox:
    """Encrypts what must be read again: AES-256-GCM, the row's id bound in."""

    def __init__(self, key: bytes) -> None:
        """``key`` has 32 bytes, derived from ``SECRET_KEY``."""
        from cryptography.hazmat.primitives.ciphers.aead import AESGCM  # late: 8 MB

        self._cipher = AESGCM(key)

    def seal(self, text: str, *, row: UUID) -> bytes:
        """Encrypt ``text`` for one row."""
        nonce = os.urandom(_NONCE)
        return nonce + self._cipher.encrypt(nonce, text.encode(), row.bytes)

    def open(self, sealed: bytes, *, row: UUID) -> str:
        """Decrypt what ``seal`` made for the same row.

        Raises:
            cryptography.exceptions.InvalidTag: another SECRET_KEY, another row, or damage.
        """
        return self._cipher.decrypt(sealed[:_NONCE], sealed[_NONCE:], row.bytes).decode()


class Credentials:
    """Keys as the gateway's start and its internal routes need them."""

    def __init__(self, database: Database, ring: KeyRing, box: SecretBox, *, file: Path, url: str) -> None:
        """``file`` is where the first key is left for its owner, ``url`` what stands beside it."""
        self._database = database
        self._ring = ring
        self._box = box
        self._file = file
        self._url = url

    async def ensure_first(self) -> None:
        """Make the first key if there is none, and leave it in the file; else keep the file's URL true.

        The file is written before the row is committed: a crash in between makes another first key
        and another file, never a key that nobody has.
        """
        async with self._database.transaction() as tx:
            keys = Keys(tx.session)
            await keys.hold()
            if await keys.any():
                await asyncio.to_thread(_renew_url, self._file, self._url)
                return
            key, secret = new_api_key(), new_callback_secret()
            record = ApiKey(uuid7(), FIRST_NAME, FIRST_ROLES)
            document = {"url": self._url, "api_key": key, "callback_secret": secret}
            await asyncio.to_thread(write_private, self._file, document)
            sealed = self._box.seal(secret, row=record.id)
            await keys.add(record, digest=fingerprint(key.encode()), callback_secret=sealed)
        log.info("first_key.made", file=str(self._file), key_id=record.key_id)

    async def verify(self, key: str) -> ApiKey:
        """Return whose key it is.

        Raises:
            KeyRefused: nobody's.
        """
        found = await self._ring.find(key.encode())
        if found is None:
            raise KeyRefused
        return found


def _renew_url(file: Path, url: str) -> None:
    try:
        document = json.loads(file.read_text())
    except FileNotFoundError:
        log.warning("first_key.file_is_gone", file=str(file))
        return
    if document.get("url") != url:
        write_private(file, document | {"url": url})


def write_private(file: Path, document: dict[str, str]) -> None:
    """Write a file that only its owner reads, whole or not at all."""
    file.parent.mkdir(parents=True, exist_ok=True)
    part = file.with_name(f".{file.name}.part")
    part.unlink(missing_ok=True)
    descriptor = os.open(part, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    with os.fdopen(descriptor, "w") as handle:
        json.dump(document, handle, indent=2)
        handle.write("\n")
        handle.flush()
        os.fsync(handle.fileno())
    part.replace(file)
