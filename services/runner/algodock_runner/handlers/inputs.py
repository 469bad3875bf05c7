"""What an algorithm gets: a task's input, from its row or the object store, with the files in it that it refers to.

Results of earlier tasks that it names by their keys become data URLs: the algorithm has no way into the object
store, and needs none.
"""

from __future__ import annotations

import asyncio
import json
import mmap
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

from algodock_common.errors import AlgoDockError
from algodock_runner.clients.answers import AttemptFailed
from algodock_runner.domain.references import MARK, data_url, filled, referred, task_of
from algodock_runner.domain.requests import JSON
from algodock_runner.domain.retry import Failure, Kind, task_error
from algodock_runner.repository import tasks

if TYPE_CHECKING:
    from uuid import UUID

    from algodock_common.database import Database
    from algodock_common.storage import ObjectStore
    from algodock_runner.domain.tasks import Claim, StoredResult

__all__ = ["Inputs"]


class Inputs:
    """Loads inputs; what they may refer to are results of tasks of the same owner, and nothing else."""

    def __init__(self, db: Database, store: ObjectStore, *, max_bytes: int) -> None:
        """Keep what it works with; ``max_bytes`` bounds the files of one input together."""
        self._db = db
        self._store = store
        self._max_bytes = max_bytes

    async def load(self, claim: Claim) -> bytes | Path:
        """Return the input as bytes, or as a file that the caller removes.

        Raises:
            AttemptFailed: it cannot be read, or it refers to what is no result of the task's owner, is not there,
                or is too much.
        """
        is_json = claim.content_type.split(";", 1)[0].strip().lower() == JSON
        if claim.body_key is None:
            body = claim.body or b""
            return await self._resolved(claim, body) if is_json and MARK in body else body
        path = await self._fetched(claim.body_key)
        if not is_json:
            return path
        kept: bytes | Path = path
        try:
            if await asyncio.to_thread(_has_mark, path):
                kept = await self._resolved(claim, await asyncio.to_thread(path.read_bytes))
        except BaseException:
            path.unlink(missing_ok=True)  # a cancelled task waits for nothing more
            raise
        if kept is not path:
            await asyncio.to_thread(path.unlink, missing_ok=True)
        return kept

    async def _fetched(self, key: str) -> Path:
        handle = await asyncio.to_thread(tempfile.NamedTemporaryFile, prefix="algodock-input-", delete=False)
        handle.close()
        path = Path(handle.name)
        try:
            await self._store.get_file(key, path)
        except AlgoDockError as error:
            await asyncio.to_thread(path.unlink, missing_ok=True)
            raise _unreadable(error) from error
        except asyncio.CancelledError:
            path.unlink(missing_ok=True)  # noqa: ASYNC240  # a cancelled task waits for nothing more
            raise
        return path

    async def _resolved(self, claim: Claim, body: bytes) -> bytes:
        try:
            value = json.loads(body)
            keys = sorted(referred(value))
        except (ValueError, RecursionError):
            return body  # the algorithm says what is wrong with it
        if not keys:
            return body
        found = {key: await self._result(claim.id, key) for key in keys}
        size = sum(result.size for result in found.values())
        if size > self._max_bytes:
            raise _refused(f"the files that the input names have {size} bytes; {self._max_bytes} are allowed")
        files = {key: await self._read(key, result) for key, result in found.items()}
        return await asyncio.to_thread(lambda: json.dumps(filled(value, files), separators=(",", ":")).encode())

    async def _result(self, task_id: UUID, key: str) -> StoredResult:
        named = task_of(key)
        result = None if named is None else await tasks.result_beside(self._db, named, of=task_id)
        if result is None or (result.stored is not None and result.stored.key != key):
            raise _refused(f"{key!r} is neither a data URL nor the key of a result of yours")
        if result.stored is None:
            raise _refused(f"{key!r}: that task is {result.state} and has no result")
        if result.removed_at is not None:
            raise _refused(f"{key!r}: that result was removed at {result.removed_at:%Y-%m-%d %H:%M:%S} UTC")
        return result.stored

    async def _read(self, key: str, result: StoredResult) -> str:
        data = result.inline
        if data is None:
            try:
                data = await self._store.get(key)
            except AlgoDockError as error:
                raise _unreadable(error) from error
        return await asyncio.to_thread(data_url, result.content_type, data)


def _refused(why: str) -> AttemptFailed:
    return AttemptFailed(Failure(Kind.PERMANENT, task_error("InvalidInput", f"$file: {why}")))


def _unreadable(error: AlgoDockError) -> AttemptFailed:
    kind = Kind.NOT_STARTED if error.retryable else Kind.PERMANENT
    return AttemptFailed(Failure(kind, task_error("InputUnreadable", error.detail)))


def _has_mark(path: Path) -> bool:
    """Look through a large input without holding it in memory."""
    if path.stat().st_size == 0:  # nothing that could be mapped
        return False
    with path.open("rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as content:
        return content.find(MARK) >= 0
