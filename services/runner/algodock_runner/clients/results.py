"""Where results go: the object store, small ones by a PUT signed in the event loop."""

from __future__ import annotations

import asyncio
from http import HTTPStatus
from typing import TYPE_CHECKING, Protocol

from algodock_common import failpoints
from algodock_common.storage import ObjectStoreFailed, ObjectStoreUnavailable, checked_key
from algodock_common.upstream import UpstreamError, exchange
from algodock_runner.clients.s3_signing import signed_put

if TYPE_CHECKING:
    from algodock_common.settings import ObjectStoreSettings
    from algodock_common.storage import ObjectStore
    from algodock_common.upstream import Pool
    from algodock_runner.clients.answers import Answer

__all__ = ["PlainResults", "Results", "SignedResults"]

PUT_TIMEOUT_S = 20.0
SAID_BYTES = 500


class Results(Protocol):
    """Stores one attempt's answer under its own key."""

    async def put(self, key: str, answer: Answer) -> None:
        """Store it.

        Raises:
            ObjectStoreUnavailable: the store is away; the same call may succeed later.
            ObjectStoreFailed: it refused.
        """
        ...


class SignedResults:
    """Small answers by one signed request of the event loop's own pool, large ones by the SDK in a thread."""

    def __init__(self, settings: ObjectStoreSettings, store: ObjectStore, pool: Pool) -> None:
        """Keep what it works with; nothing is sent."""
        self._settings = settings
        self._store = store
        self._pool = pool
        self._origin = pool.origin(settings.endpoint)

    async def put(self, key: str, answer: Answer) -> None:
        """Store it."""
        if answer.path is not None:
            await self._store.put_file(key, answer.path, answer.content_type)
            return
        body = answer.data or b""
        path, headers = signed_put(self._settings, checked_key(key), body, answer.content_type)
        try:
            async with (
                asyncio.timeout(PUT_TIMEOUT_S),
                exchange(self._pool, self._origin, "PUT", path, headers, body) as response,
            ):
                said = b""
                while data := await response.read():
                    said = (said + data)[:SAID_BYTES]
        except (UpstreamError, TimeoutError, OSError) as error:
            msg = "The object store cannot be reached."
            raise ObjectStoreUnavailable(msg, retry_after=1) from error
        if response.status == HTTPStatus.OK:
            failpoints.reach("result.uploaded")
            return
        if response.status == HTTPStatus.NOT_FOUND:  # a store that lost everything: the bucket, too
            await self._store.ensure_bucket()
            msg = "The object store had no bucket."
            raise ObjectStoreUnavailable(msg, retry_after=1)
        if response.status >= HTTPStatus.INTERNAL_SERVER_ERROR or response.status == HTTPStatus.TOO_MANY_REQUESTS:
            msg = f"The object store cannot serve now ({response.status})."
            raise ObjectStoreUnavailable(msg, retry_after=1)
        msg = f"The object store refused ({response.status}): {said.decode(errors='replace')}"
        raise ObjectStoreFailed(msg)


class PlainResults:
    """Results through any object store: what tests use, with the store in memory."""

    def __init__(self, store: ObjectStore) -> None:
        """Keep the store."""
        self._store = store

    async def put(self, key: str, answer: Answer) -> None:
        """Store it."""
        if answer.path is not None:
            await self._store.put_file(key, answer.path, answer.content_type)
        else:
            await self._store.put(key, answer.data or b"", answer.content_type)
