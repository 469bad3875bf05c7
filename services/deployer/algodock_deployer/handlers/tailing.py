"""Follows files that grow: the output of a build, the logs of a service."""

from __future__ import annotations

import asyncio
import codecs
from dataclasses import dataclass
from typing import TYPE_CHECKING
from uuid import UUID

from algodock_common.errors import NotFound
from algodock_deployer.domain.releases import IN_PROGRESS
from algodock_deployer.handlers.logs import log_paths
from algodock_deployer.handlers.reading import build_log, find_release, find_service

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path

    from algodock_deployer.domain.logs import Wanted
    from algodock_deployer.handlers.context import Context

__all__ = ["BuildEnd", "BuildLine", "follow_build", "follow_build_lines", "follow_logs"]

LOOK_EVERY_S = 0.25
BLOCK = 256 * 1024


class _Growing:
    """One file that is read as it grows; when it is rotated or another takes its name, that one from its start."""

    def __init__(self, path: Path, lines: int) -> None:
        self._path = path
        self._identity: tuple[int, int] | None = None
        self._offset = 0
        self._backlog = lines
        self._decoder = codecs.getincrementaldecoder("utf-8")("replace")
        self._rest = ""

    def read(self) -> list[str]:
        """Return the whole lines that are new."""
        try:
            status = self._path.stat()
        except FileNotFoundError:
            return []
        identity = (status.st_dev, status.st_ino)
        first = self._identity is None
        if identity != self._identity or status.st_size < self._offset:
            self._identity, self._offset = identity, 0
        if status.st_size == self._offset:
            return []
        with self._path.open("rb") as file:
            if first:
                self._offset = max(0, status.st_size - BLOCK)
            file.seek(self._offset)
            content = file.read(BLOCK)
        self._offset += len(content)
        *lines, self._rest = (self._rest + self._decoder.decode(content)).split("\n")
        return lines[-self._backlog :] if first and self._backlog else ([] if first else lines)


async def follow_logs(context: Context, name: str, wanted: Wanted) -> AsyncIterator[str]:
    """Yield the last lines and then each new one that has what is searched for, for as long as somebody listens.

    Raises:
        ServiceNotFound: there is no such service.
    """
    view = await find_service(context, name)
    files = [_Growing(path, wanted.lines) for path in log_paths(context, view.service.name, wanted.stream)]
    while True:
        for file in files:
            for line in await asyncio.to_thread(file.read):
                if wanted.matches(line):
                    yield line
        await asyncio.sleep(LOOK_EVERY_S)


async def follow_build(context: Context, release_id: UUID) -> AsyncIterator[bytes]:
    """Yield a build's output until it ends.

    Raises:
        ReleaseNotFound: there is no such release.
    """
    path = context.folders.build_log(release_id)
    offset = 0
    while True:
        view = await find_release(context, release_id)
        running = view.release.state in IN_PROGRESS or view.release.state == "queued"
        while content := await asyncio.to_thread(_read, path, offset):
            offset += len(content)
            yield content
        if not running:
            return
        await asyncio.sleep(LOOK_EVERY_S)


@dataclass(frozen=True)
class BuildLine:
    """One line of a build's output; ``end`` is the offset behind it, from which somebody may go on."""

    end: int
    text: str


@dataclass(frozen=True)
class BuildEnd:
    """What became of the release, and why."""

    state: str
    reason: str


async def follow_build_lines(
    context: Context, release_id: UUID, *, after: int, quiet_s: float = 15.0
) -> AsyncIterator[BuildLine | BuildEnd | None]:
    """Yield a build's lines from offset ``after`` and, when it has ended, what became of it.

    None comes when nothing was written for ``quiet_s``: whoever listens shall know that somebody is there.

    Raises:
        ReleaseNotFound: there is no such release.
    """
    path, clock = context.folders.build_log(release_id), asyncio.get_running_loop()
    offset, rest, told_at = after, b"", clock.time()
    while True:
        view = await find_release(context, release_id)
        running = view.release.state in IN_PROGRESS or view.release.state == "queued"
        content = await asyncio.to_thread(_read, path, offset + len(rest))
        if not running and not path.exists():
            content = await _stored(context, release_id, offset)
        while content:
            *lines, rest = (rest + content).split(b"\n")
            for line in lines:
                offset += len(line) + 1
                yield BuildLine(offset, line.decode(errors="replace"))
            told_at = clock.time()
            content = await asyncio.to_thread(_read, path, offset + len(rest))
        if not running:
            if rest:
                yield BuildLine(offset + len(rest), rest.decode(errors="replace"))
            yield BuildEnd(view.release.state, view.release.reason)
            return
        if clock.time() - told_at > quiet_s:
            told_at = clock.time()
            yield None
        await asyncio.sleep(LOOK_EVERY_S)  # files tell nobody that they grow


async def _stored(context: Context, release_id: UUID, offset: int) -> bytes:
    """Return what was kept of an ended build; nothing when it never wrote anything."""
    try:
        return (await build_log(context, release_id))[offset:]
    except NotFound:
        return b""


def _read(path: Path, offset: int) -> bytes:
    try:
        with path.open("rb") as file:
            file.seek(offset)
            return file.read(BLOCK)
    except FileNotFoundError:
        return b""
