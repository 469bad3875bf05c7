"""Between the event loop and a thread: an asynchronous iterator as a file that blocking code reads."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator

__all__ = ["BlockingReader"]


class BlockingReader:
    """Lets a thread read what an asynchronous iterator of the event loop yields."""

    def __init__(self, chunks: AsyncIterator[bytes]) -> None:
        """Remember the running event loop; nothing is read yet."""
        self._chunks = chunks
        self._loop = asyncio.get_running_loop()
        self._buffer = bytearray()
        self._ended = False
        self._abandoned = False
        self._waiting: asyncio.Task[bytes | None] | None = None
        self._read = 0

    def read(self, size: int) -> bytes:
        """Return exactly ``size`` bytes, fewer only at the end; called in the thread.

        Raises:
            OSError: the reader was abandoned.
        """
        while len(self._buffer) < size and not self._ended:
            chunk = asyncio.run_coroutine_threadsafe(self._next(), self._loop).result()
            if chunk is None:
                self._ended = True
            else:
                self._buffer += chunk
        taken = bytes(self._buffer[:size])
        del self._buffer[:size]
        self._read += len(taken)
        return taken

    def tell(self) -> int:
        """Return how many bytes were read."""
        return self._read

    def abandon(self) -> None:
        """Free a thread that still waits, when its caller was cancelled; called in the event loop."""
        self._abandoned = True
        if self._waiting is not None:
            self._waiting.cancel()

    async def _next(self) -> bytes | None:
        # What tells the two sides apart is only touched here, in the event loop: no lock is needed.
        if self._abandoned:
            msg = "the upload was abandoned"
            raise OSError(msg)
        self._waiting = asyncio.current_task()
        return await anext(self._chunks, None)
