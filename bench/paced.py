"""An open load: so many requests a second over so many connections, each on its time whether or not others are late."""

from __future__ import annotations

import asyncio
import multiprocessing
import re
import statistics
import time
from dataclasses import dataclass
from multiprocessing.connection import Connection as Pipe
from types import TracebackType
from typing import Self
from urllib.parse import urlsplit

import uvloop

__all__ = ["Paced", "Served"]

_LENGTH = re.compile(rb"(?i)\r\ncontent-length: *(\d+)")
_ANSWER_S = 60.0


@dataclass(frozen=True, slots=True)
class Served:
    """What became of a load: ``failed`` had another status than 200, ``dropped`` had no answer at all."""

    took_ms: list[float]
    failed: int
    dropped: int

    @property
    def p99_ms(self) -> float:
        """Return the 99th percentile from the moment at which a request was due."""
        return statistics.quantiles(self.took_ms, n=100)[98]


class Paced:
    """The load, made by a process of its own while the block runs; ``served`` is there afterwards."""

    def __init__(self, url: str, request: bytes, *, per_s: float, connections: int) -> None:
        """Nothing is sent before the block begins."""
        context = multiprocessing.get_context("spawn")
        self._ours, theirs = context.Pipe()
        work = (theirs, url, request, per_s, connections)
        self._process = context.Process(target=_run, args=work, daemon=True)
        self.served = Served([], 0, 0)

    def __enter__(self) -> Self:
        """Begin, and return when every connection has had an answer."""
        self._process.start()
        self._ours.recv()
        return self

    def __exit__(self, _: type[BaseException] | None, error: BaseException | None, __: TracebackType | None) -> None:
        """End the load; calls in flight are waited for."""
        self._ours.send("end")
        served = self._ours.recv()
        self._process.join()
        if isinstance(served, Served):
            self.served = served
        elif error is None:
            raise RuntimeError(served)


def _run(pipe: Pipe, url: str, request: bytes, per_s: float, connections: int) -> None:
    try:
        pipe.send(uvloop.run(_load(pipe, url, request, per_s, connections)))
    except Exception as error:  # noqa: BLE001  # told to whoever began the load
        pipe.send(f"{type(error).__name__}: {error}")


async def _load(pipe: Pipe, url: str, request: bytes, per_s: float, connections: int) -> Served:
    over = asyncio.Event()
    callers = [_Caller(url, request, connections / per_s, over) for _ in range(connections)]
    for caller in callers:
        await caller.once()
    pipe.send("begun")
    asyncio.get_running_loop().add_reader(pipe.fileno(), over.set)
    begun = time.perf_counter()
    await asyncio.gather(*(caller.run(begun + number / per_s) for number, caller in enumerate(callers)))
    pipe.recv()
    took = [one for caller in callers for one in caller.took_ms]
    return Served(took, sum(caller.failed for caller in callers), sum(caller.dropped for caller in callers))


class _Caller:
    """One connection; made anew, and counted as a drop, when it breaks before its answer."""

    def __init__(self, url: str, request: bytes, every_s: float, over: asyncio.Event) -> None:
        parts = urlsplit(url)
        self._address = parts.hostname or "127.0.0.1", parts.port or 80
        self._request = request
        self._every_s = every_s
        self._over = over
        self._streams: tuple[asyncio.StreamReader, asyncio.StreamWriter] | None = None
        self.took_ms: list[float] = []
        self.failed = self.dropped = 0

    async def run(self, due: float) -> None:
        while not self._over.is_set():
            try:
                async with asyncio.timeout(max(0.0, due - time.perf_counter())):
                    await self._over.wait()
                break
            except TimeoutError:
                pass
            try:
                status = await self.once()
            except (OSError, EOFError, TimeoutError):
                self.dropped += 1
                self._streams = None
            else:
                self.failed += status != 200  # noqa: PLR2004
                self.took_ms.append((time.perf_counter() - due) * 1000)
            due += self._every_s
        if self._streams is not None:
            self._streams[1].close()

    async def once(self) -> int:
        async with asyncio.timeout(_ANSWER_S):
            if self._streams is None:
                self._streams = await asyncio.open_connection(*self._address)
            reader, writer = self._streams
            writer.write(self._request)
            head = await reader.readuntil(b"\r\n\r\n")
            length = _LENGTH.search(head)
            await reader.readexactly(int(length[1]) if length else 0)
            return int(head.split(b" ", 2)[1])
