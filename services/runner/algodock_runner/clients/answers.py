"""An algorithm's answer while it is on its way to the object store: in memory, or in a file when it is large."""

from __future__ import annotations

import asyncio
import os
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

from algodock_common.crowding import Pace
from algodock_runner.domain.retry import Failure, Kind, task_error

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

__all__ = ["Answer", "AttemptFailed", "receive"]

IN_MEMORY_BYTES = 1024 * 1024


class AttemptFailed(Exception):  # it is what it says
    """An attempt did not succeed; ``failure`` says why, and whether another one may."""

    def __init__(self, failure: Failure) -> None:
        """Carry the failure."""
        super().__init__(failure.error.message)
        self.failure = failure


class Answer:
    """The body of an answer: ``data``, or a file at ``path``, which ``discard`` removes."""

    def __init__(self, content_type: str, data: bytes | None, path: Path | None, size: int) -> None:
        """Hold a body that was received whole."""
        self.content_type = content_type
        self.data = data
        self.path = path
        self.size = size

    async def discard(self) -> None:
        """Remove the file, if there is one."""
        if self.path is not None:
            await asyncio.to_thread(self.path.unlink, missing_ok=True)


async def receive(chunks: AsyncIterator[bytes], content_type: str, *, limit: int) -> Answer:
    """Read a body to its end; past a MiB it goes to a temporary file, with pauses while programs wait for a core.

    Raises:
        AttemptFailed: it is larger than ``limit`` bytes.
    """
    held = bytearray()
    file: _File | None = None
    size = 0
    try:
        async for chunk in chunks:
            size += len(chunk)
            _check_size(size, limit)
            held += chunk
            if len(held) > IN_MEMORY_BYTES:
                if file is None:
                    file = await asyncio.to_thread(_File)
                await asyncio.to_thread(file.write, bytes(held))
                await asyncio.sleep(file.pace.pause_s(len(held)))
                held.clear()
        if file is None:
            return Answer(content_type, bytes(held), None, size)
        await asyncio.to_thread(file.write, bytes(held))
    except BaseException:
        if file is not None:
            file.path.unlink(missing_ok=True)  # also when cancelled, where nothing may be awaited
        raise
    finally:
        if file is not None:
            file.close()
    return Answer(content_type, None, file.path, size)


class _File:
    """A temporary file that outlives its descriptor."""

    def __init__(self) -> None:
        self.pace = Pace()
        self._descriptor, name = tempfile.mkstemp(prefix="algodock-result-")
        self.path = Path(name)

    def write(self, data: bytes) -> None:
        left = memoryview(data)
        while left:
            left = left[os.write(self._descriptor, left) :]

    def close(self) -> None:
        os.close(self._descriptor)


def _check_size(size: int, limit: int) -> None:
    if size > limit:
        error = task_error("ResultTooLarge", f"the answer is larger than {limit} bytes")
        raise AttemptFailed(Failure(Kind.PERMANENT, error))
