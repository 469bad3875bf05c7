"""API keys in memory: a call's key is found without a query, a new or revoked one within seconds."""

from __future__ import annotations

import asyncio
from collections import OrderedDict
from time import monotonic
from typing import TYPE_CHECKING, Final, Protocol

import structlog

from algodock_gateway.domain.keys import ApiKey, fingerprint

if TYPE_CHECKING:
    from collections.abc import Mapping

__all__ = ["KeyRing", "KeySource"]

REREAD_S: Final = 5.0
"""Seconds after which a revoked key is refused by every gateway at the latest."""

REFUSED_S: Final = 1.0
_REFUSED_KEPT: Final = 10_000

log = structlog.get_logger()


class KeySource(Protocol):
    """Where keys are kept."""

    async def all_keys(self) -> Mapping[bytes, ApiKey]:
        """Return every valid key by its fingerprint."""
        ...

    async def key_of(self, digest: bytes) -> ApiKey | None:
        """Return one valid key."""
        ...


class KeyRing:
    """All valid keys by fingerprint, read again every few seconds; what is unknown is asked for once a second."""

    def __init__(self, source: KeySource, *, reread_s: float = REREAD_S) -> None:
        """Make an empty ring; ``start`` fills it."""
        self._source = source
        self._reread_s = reread_s
        self._keys: Mapping[bytes, ApiKey] = {}
        self._refused: OrderedDict[bytes, float] = OrderedDict()
        self._task: asyncio.Task[None] | None = None

    async def start(self) -> None:
        """Read all keys and keep reading."""
        self._keys = await self._source.all_keys()
        self._task = asyncio.create_task(self._keep_reading(), name="keys")

    async def stop(self) -> None:
        """Stop reading."""
        if self._task is not None:
            self._task.cancel()
            await asyncio.gather(self._task, return_exceptions=True)

    def known(self, key: bytes) -> ApiKey | None:
        """Return the key's record if it is in memory."""
        return self._keys.get(fingerprint(key))

    async def find(self, key: bytes | None) -> ApiKey | None:
        """Return the key's record, asking the database for one that memory does not know; None: not valid."""
        if key is None:
            return None
        digest = fingerprint(key)
        found = self._keys.get(digest)
        if found is not None:
            return found
        refused_at = self._refused.get(digest)
        if refused_at is not None and monotonic() - refused_at < REFUSED_S:
            return None
        found = await self._source.key_of(digest)
        if found is None:
            self._refused[digest] = monotonic()
            self._refused.move_to_end(digest)
            if len(self._refused) > _REFUSED_KEPT:
                self._refused.popitem(last=False)
        else:
            self._keys = {**self._keys, digest: found}
        return found

    async def _keep_reading(self) -> None:
        while True:
            await asyncio.sleep(self._reread_s)
            try:
                self._keys = await self._source.all_keys()
            except Exception as error:  # noqa: BLE001  # the keys in memory stay valid while the database is away
                log.warning("keys.not_read", error=repr(error))
