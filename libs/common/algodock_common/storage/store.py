"""The object store as services see it: bundles, releases, build logs, payloads and results by key."""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from typing import Final, Protocol

from algodock_common.errors import InvalidInput, NotFound, Unavailable, UpstreamFailed

__all__ = [
    "BINARY",
    "ObjectInfo",
    "ObjectNotFound",
    "ObjectStore",
    "ObjectStoreFailed",
    "ObjectStoreUnavailable",
    "checked_key",
    "stored_type",
]

BINARY: Final = "application/octet-stream"
_MAX_KEY_BYTES: Final = 1024


class ObjectNotFound(NotFound):
    """There is no object of that key."""

    code = "object-not-found"
    title = "Object not found"


class ObjectStoreUnavailable(Unavailable):
    """The object store cannot be reached, or says that it cannot serve now."""

    code = "object-store-unavailable"
    title = "Object store unavailable"


class ObjectStoreFailed(UpstreamFailed):
    """The object store refused: wrong credentials, no bucket, a broken answer."""

    code = "object-store-failed"
    title = "Object store failed"
    retryable = False


@dataclass(frozen=True, slots=True)
class ObjectInfo:
    """What is known of an object; a listing leaves content type and metadata at their defaults."""

    key: str
    size: int
    etag: str
    modified_at: datetime
    content_type: str = BINARY
    metadata: Mapping[str, str] = field(default_factory=dict)


class ObjectStore(Protocol):
    """One bucket. Keys are slash-separated paths; an object appears whole or not at all.

    Every method raises ``ObjectStoreUnavailable`` or ``ObjectStoreFailed`` when the store does not
    do its part, and ``InvalidInput`` for a key that is no path; ``ObjectNotFound`` where an object
    is read that is not there.
    """

    async def put(
        self, key: str, data: bytes, content_type: str = BINARY, metadata: Mapping[str, str] | None = None
    ) -> ObjectInfo:
        """Store ``data``; metadata is ASCII with lower-case names."""
        ...

    async def put_stream(
        self,
        key: str,
        chunks: AsyncIterator[bytes],
        content_type: str = BINARY,
        metadata: Mapping[str, str] | None = None,
    ) -> ObjectInfo:
        """Store what ``chunks`` yields, a few MiB in memory at a time; its exception stores nothing.

        Like the others it keeps ``content_type`` as ``stored_type`` says.
        """
        ...

    async def put_file(
        self, key: str, path: Path, content_type: str = BINARY, metadata: Mapping[str, str] | None = None
    ) -> ObjectInfo:
        """Store a file."""
        ...

    async def get(self, key: str) -> bytes:
        """Return an object whole."""
        ...

    async def get_file(self, key: str, path: Path) -> None:
        """Write an object to ``path``, which appears only when it is complete."""
        ...

    async def stat(self, key: str) -> ObjectInfo | None:
        """Return what is known of an object, None when there is none."""
        ...

    async def remove(self, key: str) -> None:
        """Remove an object; without one, nothing happens."""
        ...

    async def list(self, prefix: str = "", *, after: str = "", limit: int | None = None) -> Sequence[ObjectInfo]:
        """Return the objects whose keys begin with ``prefix``, by key: the first ``limit`` behind ``after``."""
        ...

    async def presigned_get(self, key: str, expires_s: float) -> str:
        """Return a link that reads the object without credentials for ``expires_s`` seconds.

        The object need not exist yet. It is answered with the content type that it was put with:
        not every server lets a link say another.
        """
        ...

    async def ensure_bucket(self) -> None:
        """Make the bucket if there is none."""
        ...

    async def ping(self) -> None:
        """Return when the store answers and the bucket is there."""
        ...


def stored_type(content_type: str) -> str:
    """Return the type that an object gets: a form is bytes like any other here.

    MinIO takes the beginning of an upload in parts, a POST, for a posted form when the object has that type.
    """
    return BINARY if content_type.lower().startswith("multipart/form-data") else content_type


def checked_key(key: str) -> str:
    """Return ``key`` if it is a clean relative path of at most 1024 bytes.

    Raises:
        InvalidInput: it is empty, absolute, leaves its folder, or has a control character.
    """
    parts = key.split("/")
    clean = all(part not in {"", ".", ".."} for part in parts) and key.isprintable()
    if not clean or len(key.encode()) > _MAX_KEY_BYTES:
        msg = f"{key[:80]!r} is not a key of the object store."
        raise InvalidInput(msg)
    return key
