"""The object store over the minio SDK: MinIO, AWS S3, or the embedded server, by ``S3_*``.

The SDK blocks, so its calls run in a few threads of their own. Where small objects are written by
the thousand, write them with signed requests from the event loop instead. Large files are stored one
at a time, by a thread that yields, and with pauses: hashing and sending one keeps a core busy that calls want.
"""

from __future__ import annotations

import asyncio
import io
import threading
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO, Final, TypeVar, cast
from urllib.parse import urlsplit
from uuid import uuid4

from algodock_common.scheduling import yield_to_threads
from algodock_common.storage.blocking_reader import BlockingReader
from algodock_common.storage.paced_file import PacedFile
from algodock_common.storage.store import (
    BINARY,
    ObjectInfo,
    ObjectNotFound,
    ObjectStoreFailed,
    ObjectStoreUnavailable,
    checked_key,
    stored_type,
)

if TYPE_CHECKING:
    from minio import Minio
    from minio.datatypes import Object

    from algodock_common.settings import ObjectStoreSettings

__all__ = ["MinioObjectStore"]

Result = TypeVar("Result")

_THREADS: Final = 8
_PART_BYTES: Final = 5 * 2**20  # the smallest part that S3 takes
_CONNECT_S: Final = 3.0
_READ_S: Final = 60.0
_MISSING: Final = frozenset({"NoSuchKey", "NoSuchObject", "NotFound"})
_NO_BUCKET: Final = "NoSuchBucket"
_SERVER_ERROR: Final = 500
_BUSY: Final = frozenset({"SlowDown", "ServiceUnavailable", "InternalError", "RequestTimeout", "ServerNotInitialized"})
_BUCKET_IS_THERE: Final = frozenset({"BucketAlreadyOwnedByYou", "BucketAlreadyExists"})
_METADATA_PREFIX: Final = "x-amz-meta-"


class MinioObjectStore:
    """One bucket of an S3 server; see :class:`~algodock_common.storage.store.ObjectStore`."""

    def __init__(self, settings: ObjectStoreSettings) -> None:
        """Prepare the client; nothing is sent.

        Raises:
            ValueError: ``S3_ENDPOINT`` or ``S3_PUBLIC_URL`` is not ``http(s)://host[:port]``.
        """
        self._settings = settings
        self._bucket = settings.bucket
        self._threads = ThreadPoolExecutor(_THREADS, thread_name_prefix="object-store")
        self._large = ThreadPoolExecutor(1, thread_name_prefix="object-store-large", initializer=yield_to_threads)
        self._lock = threading.Lock()
        self._endpoint = _origin(settings.endpoint)
        self._public = _origin(settings.public_url or settings.endpoint)
        self._made_client: Minio | None = None
        self._made_signer: Minio | None = None

    async def close(self) -> None:
        """Give the threads back; calls that are under way end first."""
        for threads in (self._threads, self._large):
            await asyncio.to_thread(threads.shutdown)

    async def put(
        self, key: str, data: bytes, content_type: str = BINARY, metadata: Mapping[str, str] | None = None
    ) -> ObjectInfo:
        """Store ``data``."""
        body = io.BytesIO(data)
        return await self._call(lambda: self._write(key, body, len(data), content_type, metadata), checked_key(key))

    async def put_stream(
        self,
        key: str,
        chunks: AsyncIterator[bytes],
        content_type: str = BINARY,
        metadata: Mapping[str, str] | None = None,
    ) -> ObjectInfo:
        """Store what ``chunks`` yields, as a multipart upload that is aborted when ``chunks`` fails."""
        reader = BlockingReader(chunks)
        body = cast("BinaryIO", reader)  # the SDK only reads it
        try:
            return await self._call(lambda: self._write(key, body, None, content_type, metadata), checked_key(key))
        finally:
            reader.abandon()

    async def put_file(
        self, key: str, path: Path, content_type: str = BINARY, metadata: Mapping[str, str] | None = None
    ) -> ObjectInfo:
        """Store a file."""
        size = (await asyncio.to_thread(path.stat)).st_size
        large = size > _PART_BYTES

        def write() -> ObjectInfo:
            with path.open("rb") as file:
                body = cast("BinaryIO", PacedFile(file)) if large else file  # the SDK only reads it
                return self._write(key, body, size, content_type, metadata)

        return await self._call(write, checked_key(key), by=self._large if large else self._threads)

    async def get(self, key: str) -> bytes:
        """Return an object whole."""
        checked_key(key)

        def read() -> bytes:
            response = self._client.get_object(self._bucket, key)
            try:
                return response.read()
            finally:
                response.close()
                response.release_conn()

        return await self._call(read, key)

    async def get_file(self, key: str, path: Path) -> None:
        """Write an object to ``path``, which appears only when it is complete."""
        partial = path.with_name(f".{path.name}.{uuid4().hex}.part")

        def read() -> None:
            try:
                self._client.fget_object(self._bucket, key, str(path), tmp_file_path=str(partial))
            finally:
                partial.unlink(missing_ok=True)

        await self._call(read, checked_key(key))

    async def stat(self, key: str) -> ObjectInfo | None:
        """Return what is known of an object, None when there is none."""
        checked_key(key)
        try:
            found = await self._call(lambda: self._client.stat_object(self._bucket, key), key)
        except ObjectNotFound:
            return None
        return _info(found)

    async def remove(self, key: str) -> None:
        """Remove an object; without one, nothing happens."""
        checked_key(key)
        try:
            await self._call(lambda: self._client.remove_object(self._bucket, key), key)
        except ObjectNotFound:
            return

    async def list(self, prefix: str = "", *, after: str = "", limit: int | None = None) -> Sequence[ObjectInfo]:
        """Return the objects whose keys begin with ``prefix``, by key: the first ``limit`` behind ``after``."""

        def read() -> Sequence[ObjectInfo]:
            found = self._client.list_objects(
                self._bucket, prefix=prefix or None, recursive=True, start_after=after or None
            )
            return sorted((_info(item) for item in islice(found, limit)), key=lambda info: info.key)

        return await self._call(read, prefix)

    async def presigned_get(self, key: str, expires_s: float) -> str:
        """Return a link under ``S3_PUBLIC_URL``; it is made here, without asking the store."""
        checked_key(key)
        expires = timedelta(seconds=max(1, round(expires_s)))
        return self._signer.presigned_get_object(self._bucket, key, expires=expires)

    async def ensure_bucket(self) -> None:
        """Make the bucket if there is none; two services may do so at once."""
        try:
            if not await self._call(lambda: self._client.bucket_exists(self._bucket), self._bucket):
                await self._call(lambda: self._client.make_bucket(self._bucket), self._bucket)
        except ObjectStoreFailed as error:
            if error.extra.get("s3_code") not in _BUCKET_IS_THERE:
                raise

    async def ping(self) -> None:
        """Return when the store answers and the bucket is there."""
        if not await self._call(lambda: self._client.bucket_exists(self._bucket), self._bucket):
            msg = f"The object store has no bucket {self._bucket!r}."
            raise ObjectStoreUnavailable(msg)

    def _write(
        self, key: str, body: BinaryIO, size: int | None, content_type: str, metadata: Mapping[str, str] | None
    ) -> ObjectInfo:
        """Store what ``body`` gives, in parts where it is large or its size is not known; blocks."""
        content_type = stored_type(content_type)
        extra: Any = dict(metadata) if metadata else None
        made = self._client.put_object(
            self._bucket,
            key,
            body,
            length=-1 if size is None else size,
            content_type=content_type,
            metadata=extra,
            part_size=_PART_BYTES if size is None else 0,
            num_parallel_uploads=1,
        )
        return ObjectInfo(
            key=key,
            size=body.tell() if size is None else size,
            etag=(made.etag or "").strip('"'),
            modified_at=made.last_modified or datetime.now(UTC),
            content_type=content_type,
            metadata=dict(metadata or {}),
        )

    async def _call(self, work: Callable[[], Result], key: str, *, by: ThreadPoolExecutor | None = None) -> Result:
        """Run blocking ``work`` in a thread and give its failures the platform's types."""
        from minio.error import InvalidResponseError, MinioException, S3Error, ServerError
        from urllib3.exceptions import HTTPError

        try:
            return await asyncio.get_running_loop().run_in_executor(by or self._threads, work)
        except S3Error as error:
            if error.code in _MISSING:
                msg = f"There is no object {key!r}."
                raise ObjectNotFound(msg, key=key) from error
            if error.code == _NO_BUCKET:  # a store that lost everything, or has another disk
                await self.ensure_bucket()
                msg = "The object store had no bucket."
                raise ObjectStoreUnavailable(msg, retry_after=1) from error
            if error.code in _BUSY or error.response.status >= _SERVER_ERROR:  # such as a disk that is full
                msg = f"The object store cannot serve now ({error.code})."
                raise ObjectStoreUnavailable(msg, retry_after=1) from error
            msg = f"The object store refused ({error.code}): {error.message}"
            raise ObjectStoreFailed(msg, s3_code=error.code) from error
        except (HTTPError, ServerError, InvalidResponseError) as error:
            msg = "The object store cannot be reached."
            raise ObjectStoreUnavailable(msg, retry_after=1) from error
        except MinioException as error:
            msg = "The object store failed."
            raise ObjectStoreFailed(msg) from error

    @property
    def _client(self) -> Minio:
        with self._lock:
            if self._made_client is None:
                self._made_client = self._connect(self._endpoint)
            return self._made_client

    @property
    def _signer(self) -> Minio:
        with self._lock:
            if self._made_signer is None:
                self._made_signer = self._connect(self._public)
            return self._made_signer

    def _connect(self, origin: tuple[str, bool]) -> Minio:
        """Make a client; a region that is given is never asked for, so signing needs no network."""
        import urllib3  # late: the SDK costs 0.5 CPU-seconds and 15 MB
        from minio import Minio

        host, secure = origin
        return Minio(
            host,
            access_key=self._settings.access_key.get_secret_value(),
            secret_key=self._settings.secret_key.get_secret_value(),
            region=self._settings.region,
            secure=secure,
            http_client=urllib3.PoolManager(
                timeout=urllib3.Timeout(connect=_CONNECT_S, read=_READ_S),
                maxsize=_THREADS,
                retries=urllib3.Retry(total=2, backoff_factor=0.1, status_forcelist=[502, 503, 504]),
            ),
        )


def _origin(url: str) -> tuple[str, bool]:
    parts = urlsplit(url)
    if parts.scheme not in {"http", "https"} or not parts.netloc or parts.path.strip("/") or parts.query:
        msg = f"an object store is given as http(s)://host[:port], not {url!r}"
        raise ValueError(msg)
    return parts.netloc, parts.scheme == "https"


def _info(found: Object) -> ObjectInfo:
    headers = {name.lower(): value for name, value in (found.metadata or {}).items()}
    return ObjectInfo(
        key=found.object_name or "",
        size=found.size or 0,
        etag=(found.etag or "").strip('"'),
        modified_at=found.last_modified or datetime.now(UTC),
        content_type=found.content_type or BINARY,
        metadata={
            name.removeprefix(_METADATA_PREFIX): value
            for name, value in headers.items()
            if name.startswith(_METADATA_PREFIX)
        },
    )
