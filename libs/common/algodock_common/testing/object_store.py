"""An object store in memory, held to the same contract test as the real one."""

from __future__ import annotations

import asyncio
import hashlib
import hmac
import secrets
from collections.abc import AsyncIterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from urllib.parse import parse_qsl, quote, unquote, urlencode, urlsplit

import httpx

from algodock_common.storage import BINARY, ObjectInfo, ObjectNotFound, ObjectStoreUnavailable, checked_key, stored_type

__all__ = ["FakeObjectStore"]


@dataclass(frozen=True, slots=True)
class _Stored:
    info: ObjectInfo
    data: bytes


class FakeObjectStore:
    """Objects in a dictionary. ``available = False`` makes every call fail as a dead server would."""

    def __init__(self) -> None:
        """Begin empty."""
        self.available = True
        self._objects: dict[str, _Stored] = {}
        self._secret = secrets.token_bytes(16)

    @property
    def keys(self) -> Sequence[str]:
        """The keys that are there, in order."""
        return sorted(self._objects)

    async def put(
        self, key: str, data: bytes, content_type: str = BINARY, metadata: Mapping[str, str] | None = None
    ) -> ObjectInfo:
        """Store ``data``."""
        self._reach(key)
        info = ObjectInfo(
            key=key,
            size=len(data),
            etag=hashlib.md5(data, usedforsecurity=False).hexdigest(),
            modified_at=datetime.now(UTC),
            content_type=stored_type(content_type),
            metadata=dict(metadata or {}),
        )
        self._objects[key] = _Stored(info, bytes(data))
        return info

    async def put_stream(
        self,
        key: str,
        chunks: AsyncIterator[bytes],
        content_type: str = BINARY,
        metadata: Mapping[str, str] | None = None,
    ) -> ObjectInfo:
        """Store what ``chunks`` yields; its exception stores nothing."""
        self._reach(key)
        data = bytearray()
        async for chunk in chunks:
            data += chunk
        return await self.put(key, bytes(data), content_type, metadata)

    async def put_file(
        self, key: str, path: Path, content_type: str = BINARY, metadata: Mapping[str, str] | None = None
    ) -> ObjectInfo:
        """Store a file."""
        return await self.put(key, await asyncio.to_thread(path.read_bytes), content_type, metadata)

    async def get(self, key: str) -> bytes:
        """Return an object whole."""
        self._reach(key)
        stored = self._objects.get(key)
        if stored is None:
            msg = f"There is no object {key!r}."
            raise ObjectNotFound(msg, key=key)
        return stored.data

    async def get_file(self, key: str, path: Path) -> None:
        """Write an object to ``path``."""
        await asyncio.to_thread(path.write_bytes, await self.get(key))

    async def stat(self, key: str) -> ObjectInfo | None:
        """Return what is known of an object, None when there is none."""
        self._reach(key)
        stored = self._objects.get(key)
        return None if stored is None else stored.info

    async def remove(self, key: str) -> None:
        """Remove an object; without one, nothing happens."""
        self._reach(key)
        self._objects.pop(key, None)

    async def list(self, prefix: str = "", *, after: str = "", limit: int | None = None) -> Sequence[ObjectInfo]:
        """Return the objects whose keys begin with ``prefix``, by key; as S3 does, without metadata."""
        self._reach()
        found = [
            ObjectInfo(key=key, size=info.size, etag=info.etag, modified_at=info.modified_at)
            for key, info in sorted((key, stored.info) for key, stored in self._objects.items())
            if key.startswith(prefix) and key > after
        ]
        return found[:limit]

    async def presigned_get(self, key: str, expires_s: float) -> str:
        """Return a link that only :meth:`follow` can read."""
        query = {"expires": str(round(expires_s)), "signature": self._signature(checked_key(key))}
        return f"http://object-store.test/{quote(key)}?{urlencode(query)}"

    async def follow(self, link: str) -> httpx.Response:
        """Answer a link as the server would that is not there."""
        parts = urlsplit(link)
        key = unquote(parts.path.removeprefix("/"))
        query = dict(parse_qsl(parts.query))
        if not hmac.compare_digest(query.get("signature", ""), self._signature(key)):
            return httpx.Response(403)
        stored = self._objects.get(key)
        if stored is None:
            return httpx.Response(404)
        return httpx.Response(200, content=stored.data, headers={"content-type": stored.info.content_type})

    async def ensure_bucket(self) -> None:
        """Do nothing: the bucket is there."""
        self._reach()

    async def ping(self) -> None:
        """Return when the store is available."""
        self._reach()

    async def close(self) -> None:
        """Do nothing: nothing is held."""

    def _signature(self, key: str) -> str:
        return hmac.new(self._secret, key.encode(), hashlib.sha256).hexdigest()

    def _reach(self, key: str | None = None) -> None:
        if key is not None:
            checked_key(key)
        if not self.available:
            msg = "The object store cannot be reached."
            raise ObjectStoreUnavailable(msg, retry_after=1)
