"""``ProcessDriver`` without any manager: plain processes in sessions of their own, found again by a later deployer."""

from __future__ import annotations

import asyncio
import contextlib
import fcntl
import os
import signal
from dataclasses import replace
from typing import TYPE_CHECKING

import structlog

from algodock_deployer.clients.files import write_whole
from algodock_deployer.clients.kept_process import KeptProcess, Record, ends, rotate
from algodock_deployer.clients.processes import DriverUnavailable
from algodock_deployer.domain.programs import start_script

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from algodock_deployer.clients.processes import Seen
    from algodock_deployer.domain.programs import ProgramSpec

__all__ = ["LocalDriver"]

log = structlog.get_logger()

SETTLED_S = 1.0
RETRIES = 3
STOP_WAIT_S = 10.0


class LocalDriver:
    """Keeps ``<folder>/<program>.json`` and ``.pid``, one pair a program.

    The deployer itself starts again what ends. While it is away its programs go on, and nobody starts
    them again; the next deployer finds them by their records, and starts what has ended meanwhile.
    """

    def __init__(self, folder: Path) -> None:
        """Nothing is started or looked for before ``ensure``."""
        self._folder = folder.absolute()
        self._kept: dict[str, KeptProcess] = {}
        self._keepers: dict[str, asyncio.Task[None]] = {}
        self._lock_file: int | None = None

    @property
    def holds(self) -> bool:
        """Return whether programs of an earlier deployer, or of this one, are noted here."""
        return bool(self._kept) or any(self._folder.glob("*.json"))

    def may_have(self, program: str) -> bool:  # noqa: ARG002  # the Protocol's
        """Return that it may: to look costs nothing."""
        return True

    async def ensure(self) -> bool:
        """Take over what an earlier deployer started; keep the logs within their size."""
        taken_over = self._lock_file is None
        if taken_over:
            self._take_over()
        for program, keeper in list(self._keepers.items()):
            kept = self._kept[program]
            await asyncio.to_thread(rotate, *kept.logs)
            if keeper.done() and not kept.gave_up and self._keepers.get(program) is keeper:
                log.error("keeper_ended", program=program, exc_info=keeper.exception())
                self._keep(kept)
        return taken_over

    async def start(self, spec: ProgramSpec) -> None:
        """Write the program's files and start it, unless it runs or is about to."""
        if self._lock_file is None:
            self._take_over()
        kept = self._kept.get(spec.program)
        if kept is not None and (kept.alive or spec.program in self._keepers) and not kept.gave_up:
            if spec.program not in self._keepers:  # somebody began to stop it, and was stopped
                self._keep(kept)
            return
        record = Record(spec.program, str(spec.script), str(spec.folder), str(spec.stdout), str(spec.stderr))
        kept = KeptProcess(record, self._folder)
        try:
            for path in (spec.script, spec.stdout, spec.stderr):
                path.parent.mkdir(parents=True, exist_ok=True)
            write_whole(spec.script, start_script(replace(spec, pid_file=kept.pid_file)), 0o700)
            kept.save()  # before its process: after a crash in between it is started, and not unknown
            kept.spawn()
        except OSError as error:
            kept.forget()
            raise DriverUnavailable(f"{spec.program} does not start: {error}") from error
        self._keep(kept)

    async def look(self, program: str) -> Seen | None:
        """Return how the program stands this moment."""
        kept = self._kept.get(program)
        return kept.seen() if kept else None

    async def look_all(self) -> Mapping[str, Seen]:
        """Return all programs."""
        return {program: kept.seen() for program, kept in self._kept.items()}

    async def pause(self, program: str) -> None:
        """End the program; its record says that it waits, so that no later deployer starts it either."""
        kept = self._kept.get(program)
        if kept is not None:
            kept.pause()
            await self._end(kept)

    async def resume(self, program: str) -> None:
        """Start a paused program again."""
        kept = self._kept.get(program)
        if kept is None or not kept.record.paused:
            return
        kept.record.paused = False
        try:
            kept.spawn()
        except OSError as error:
            raise DriverUnavailable(f"{program} does not start: {error}") from error
        self._keep(kept)

    async def stop(self, program: str) -> None:
        """End the program with its whole process group and forget it."""
        kept = self._kept.get(program)
        if kept is None:
            return
        await self._end(kept)
        self._kept.pop(program, None)
        kept.forget()

    async def _end(self, kept: KeptProcess) -> None:
        """End the process and its group; nobody starts it again."""
        program = kept.record.program
        keeper = self._keepers.pop(program, None)
        if keeper is not None:
            keeper.cancel()
            await asyncio.wait([keeper])
        if kept.alive:
            kept.send(signal.SIGTERM)
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(STOP_WAIT_S):
                    await ends(kept)
        kept.send(signal.SIGKILL)  # what of its group lives on, or all of it
        await ends(kept)

    async def close(self) -> None:
        """Let go of the programs, which go on."""
        keepers = list(self._keepers.values())
        for keeper in keepers:
            keeper.cancel()
        await asyncio.gather(*keepers, return_exceptions=True)
        self._keepers.clear()
        self._kept.clear()
        if self._lock_file is not None:
            os.close(self._lock_file)
            self._lock_file = None

    def _take_over(self) -> None:
        """Read the records, as the only one who does.

        Raises:
            DriverUnavailable: another deployer keeps these programs, or this machine has no pidfd.
        """
        if not hasattr(os, "pidfd_open"):
            raise DriverUnavailable("deployment.mode local needs Linux 5.3 or newer; use supervisor")
        self._folder.mkdir(parents=True, exist_ok=True)
        descriptor = os.open(self._folder / "lock", os.O_RDWR | os.O_CREAT, 0o600)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            os.close(descriptor)
            raise DriverUnavailable(f"another deployer keeps the programs of {self._folder}") from error
        self._lock_file = descriptor
        for path in sorted(self._folder.glob("*.json")):
            kept = KeptProcess.read(path)
            if kept is None:
                log.warning("record_unreadable", path=str(path))
                path.unlink()
                continue
            log.info("program_found", program=kept.record.program, alive=kept.alive)
            if kept.record.paused:
                self._kept[kept.record.program] = kept
            else:
                self._keep(kept)

    def _keep(self, kept: KeptProcess) -> None:
        program = kept.record.program
        self._kept[program] = kept
        self._keepers[program] = asyncio.create_task(self._keep_running(kept), name=f"keep-{program}")

    async def _keep_running(self, kept: KeptProcess) -> None:
        """Start the program again whenever it ends, as supervisord would: at once, or later when it ends at once."""
        tries = 0
        while True:
            if kept.alive:
                await ends(kept)
            kept.send(signal.SIGKILL)  # what it forked would hold its port
            lived = kept.ended()
            if lived is not None:  # what ended while no deployer was there is started without delay
                log.info("program_ended", program=kept.record.program, code=kept.exit_code, seconds=round(lived, 1))
                tries = 0 if lived > SETTLED_S else tries + 1
            if tries > RETRIES:
                kept.give_up()
                return
            await asyncio.sleep(tries)
            try:
                kept.spawn()
            except OSError as error:
                kept.detail = str(error)
