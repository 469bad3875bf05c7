"""Containers' output, copied from the Docker Engine into the log files that every program has, each line once."""

from __future__ import annotations

import asyncio
import json
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

import structlog

from algodock_deployer.clients.files import write_whole
from algodock_deployer.clients.kept_process import LOG_BYTES, rotate

if TYPE_CHECKING:
    from aiodocker.containers import DockerContainer

    from algodock_deployer.domain.programs import ProgramSpec

__all__ = ["ContainerLogs"]

log = structlog.get_logger()

STREAMS = ("stdout", "stderr")


class ContainerLogs:
    """``<folder>/<program>.json`` a program: its two files, and the engine's time of the last line in each."""

    def __init__(self, folder: Path) -> None:
        """Nothing is copied yet."""
        self._folder = folder
        self._records: dict[str, dict[str, dict[str, str]]] = {}
        self._tasks: dict[str, list[asyncio.Task[None]]] = {}
        self._locks: dict[tuple[str, str], asyncio.Lock] = {}
        self._changed: set[str] = set()

    def begin(self, spec: ProgramSpec) -> None:
        """Note where a new program's output goes."""
        self._records[spec.program] = {
            name: {"path": str(path), "last": ""}
            for name, path in zip(STREAMS, (spec.stdout, spec.stderr), strict=True)
        }
        for path in (spec.stdout, spec.stderr):
            path.parent.mkdir(parents=True, exist_ok=True)
            path.touch()
        self._changed.add(spec.program)
        self.save()

    def follow(self, container: DockerContainer, program: str) -> None:
        """Copy the container's output until it ends, unless that is done already."""
        if all(task.done() for task in self._tasks.get(program, [])) and self._record(program):
            self._tasks[program] = [
                asyncio.create_task(self._copy(container, program, stream, follow=True), name=f"{program}-{stream}")
                for stream in STREAMS
            ]

    async def finish(self, container: DockerContainer, program: str, wait_s: float) -> None:
        """Copy what a container that has ended wrote last."""
        if not self._record(program):
            return
        tasks = self._tasks.get(program, [])
        if tasks:
            await asyncio.wait(tasks, timeout=wait_s)
        if all(task.done() for task in tasks):
            for stream in STREAMS:
                await self._copy(container, program, stream, follow=False)

    def save(self) -> None:
        """Write down how far everything was copied."""
        for program in self._changed & self._records.keys():
            write_whole(self._folder / f"{program}.json", json.dumps(self._records[program]), 0o600)
        self._changed.clear()

    def forget(self, program: str) -> None:
        """Drop a program that is gone."""
        for task in self._tasks.pop(program, []):
            task.cancel()
        self._records.pop(program, None)
        (self._folder / f"{program}.json").unlink(missing_ok=True)

    async def close(self) -> None:
        """Stop copying; whoever comes next goes on from there."""
        tasks = [task for several in self._tasks.values() for task in several]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        self._tasks.clear()
        self.save()
        self._records.clear()

    def _record(self, program: str) -> dict[str, dict[str, str]] | None:
        if program not in self._records:
            try:
                found = json.loads((self._folder / f"{program}.json").read_text(encoding="utf-8"))
                self._records[program] = {
                    name: {key: str(found[name][key]) for key in ("path", "last")} for name in STREAMS
                }
            except (OSError, ValueError, KeyError, TypeError) as error:
                log.warning("container_record_unreadable", program=program, error=repr(error))
                return None
        return self._records[program]

    async def _copy(self, container: DockerContainer, program: str, stream: str, *, follow: bool) -> None:
        import aiohttp
        from aiodocker import DockerError

        record = self._records[program][stream]
        asked: dict[str, Any] = {"stdout": stream == "stdout", "stderr": stream == "stderr", "timestamps": True}
        async with self._locks.setdefault((program, stream), asyncio.Lock()):
            if record["last"]:
                asked["since"] = _unix(record["last"])
            try:
                if follow:
                    async for piece in container.log(follow=True, **asked):
                        self._take(program, record, piece)
                else:
                    for piece in await container.log(**asked):
                        self._take(program, record, piece)
            except (aiohttp.ClientError, ConnectionError, TimeoutError, DockerError) as error:
                log.info("container_log_ended", program=program, error=str(error))  # the next look goes on

    def _take(self, program: str, record: dict[str, str], piece: str) -> None:
        when, _, text = piece.partition(" ")
        if when <= record["last"]:  # the engine tells again the line that it was asked from
            return
        path = Path(record["path"])
        with path.open("a", encoding="utf-8") as file:
            file.write(text)
            large = file.tell() > LOG_BYTES
        record["last"] = when
        self._changed.add(program)
        if large:
            rotate(path)


def _unix(moment: str) -> str:
    """Return the engine's time as it wants to be asked: seconds since 1970 and nanoseconds."""
    whole, _, fraction = moment.removesuffix("Z").partition(".")
    return f"{int(datetime.fromisoformat(whole + '+00:00').timestamp())}.{fraction:0<9}"
