"""``ProcessDriver`` with a supervisord that somebody else runs: files beside its own ones, and its standard calls.

Each program is a group of its own, because supervisord by itself can only replace a whole group, which would stop every
program in it. Nothing is looked at or ended here but programs whose file says that this platform wrote it.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import pwd
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import structlog

from algodock_deployer.clients.files import write_whole
from algodock_deployer.clients.processes import DriverUnavailable, Seen
from algodock_deployer.clients.xmlrpc import Address, Fault, Rpc
from algodock_deployer.domain.programs import ProgramSpec, program_section, start_script

if TYPE_CHECKING:
    from collections.abc import Mapping

__all__ = ["NOTE", "UsersSupervisorDriver"]

log = structlog.get_logger()

NOTE = "users-supervisord.json"
"""In the platform's folder: where that supervisord listens and its files lie, for whoever ends the platform."""

BAD_NAME, SPAWN_ERROR, ALREADY_STARTED, NOT_RUNNING, ALREADY_ADDED = 10, 50, 60, 70, 90  # supervisor.xmlrpc.Faults
PAUSED: Final = frozenset({"STOPPED", "FATAL"})
ALIVE: Final = frozenset({"STARTING", "RUNNING", "BACKOFF"})
STOP_WAIT_S = 20.0
LOOK_EVERY_S = 0.05


class UsersSupervisorDriver:
    """Writes ``<program>.conf`` (``.ini`` in a folder ``supervisord.d``) into that supervisord's folder."""

    def __init__(self, folder: Path, programs: Path, url: str) -> None:
        """``folder`` is the platform's, ``url`` where the supervisord listens; nothing is written before ``ensure``.

        Raises:
            ValueError: the URL is none of a supervisord.
        """
        self.folder, self.programs = folder.absolute(), programs.absolute()
        self._url, address = url, Address.parse(url)
        self._name = f"the supervisord at {address}"
        self._rpc = Rpc(address, name=self._name)
        self._suffix = ".ini" if self.programs.name == "supervisord.d" else ".conf"
        self._mark = f"; Written by AlgoDock for {self.folder}\n"
        self._lock = asyncio.Lock()

    @property
    def holds(self) -> bool:
        """Return whether a file of ours is there."""
        return bool(self._own())

    def may_have(self, program: str) -> bool:  # noqa: ARG002  # the Protocol's
        """Return that it may: only the supervisord knows."""
        return True

    async def ensure(self) -> bool:
        """See that the supervisord answers; whoever runs it starts it, so the answer is always that we did not.

        Raises:
            DriverUnavailable: it does not answer, or its folder for programs is not there.
        """
        note = self.folder / NOTE
        said = json.dumps(
            {"url": self._url, "programs": str(self.programs), "mark": self._mark, "suffix": self._suffix}
        )
        if not note.exists() or note.read_text(encoding="utf-8") != said:
            write_whole(note, said, 0o600)
        if not self.programs.is_dir():
            raise DriverUnavailable(f"SUPERVISOR_CONFIG_DIR {self.programs} is no folder; make it, or name another")
        await self._call("supervisor.getState")
        return False

    async def start(self, spec: ProgramSpec) -> None:
        """Write the program's files and start it."""
        for path in (spec.script, spec.pid_file, spec.stdout, spec.stderr):
            path.parent.mkdir(parents=True, exist_ok=True)
        write_whole(spec.script, start_script(spec), 0o700)
        # A supervisord of root's would otherwise run what another user has written as root.
        section = program_section(spec) + f"user={pwd.getpwuid(os.geteuid()).pw_name}\n"
        async with self._lock:
            write_whole(self._file(spec.program), self._mark + section, 0o600)
            await self._call("supervisor.reloadConfig")
            try:
                await self._rpc.call("supervisor.addProcessGroup", spec.program)
            except Fault as fault:
                if fault.faultCode == BAD_NAME:
                    raise DriverUnavailable(
                        f"{self._name} does not read {self._file(spec.program)}: its configuration needs "
                        f"`[include] files={self.programs}/*{self._suffix}`"
                    ) from fault
                self._unless(fault, ALREADY_ADDED)
            await self._spawn(spec.program)

    async def look(self, program: str) -> Seen | None:
        """Return how the program stands this moment."""
        try:
            return _seen(await self._rpc.call("supervisor.getProcessInfo", _full(program)))
        except Fault as fault:
            self._unless(fault, BAD_NAME)
            return None

    async def look_all(self) -> Mapping[str, Seen]:
        """Return all programs of this platform."""
        own = self._own()
        found = await self._call("supervisor.getAllProcessInfo")
        return {raw["name"]: _seen(raw) for raw in found if raw["name"] == raw["group"] and raw["name"] in own}

    async def pause(self, program: str) -> None:
        """End the program; its file stays, so that it can be started again."""
        async with asyncio.timeout(STOP_WAIT_S):
            while (seen := await self.look(program)) is not None and seen.state not in PAUSED:
                if seen.state != "STOPPING":
                    await self._end(program)
                await asyncio.sleep(LOOK_EVERY_S)

    async def resume(self, program: str) -> None:
        """Start a paused program again."""
        async with self._lock:
            if self._file(program).exists():
                await self._spawn(program)

    async def stop(self, program: str) -> None:
        """End the program and forget it; its file goes last, so that a crash in between leaves nothing unknown."""
        async with asyncio.timeout(STOP_WAIT_S):
            while (seen := await self.look(program)) is not None:  # supervisord tells nobody of an end
                if seen.state in ALIVE:
                    await self._end(program)
                elif seen.state != "STOPPING":
                    with contextlib.suppress(Fault):  # still running, or gone: look again
                        await self._rpc.call("supervisor.removeProcessGroup", program)
                        continue
                await asyncio.sleep(LOOK_EVERY_S)
        async with self._lock:
            if self._file(program).exists():
                self._file(program).unlink()
                await self._call("supervisor.reloadConfig")
        (self.folder / "run" / f"{program}.pid").unlink(missing_ok=True)

    async def close(self) -> None:
        """Do nothing: that supervisord goes on, and each call has a connection of its own."""

    def _file(self, program: str) -> Path:
        return self.programs / f"{program}{self._suffix}"

    def _own(self) -> set[str]:
        """Return the programs whose files this platform wrote."""
        return {path.stem for path in self.programs.glob(f"ai-*{self._suffix}") if _first_line(path) == self._mark}

    async def _spawn(self, program: str) -> None:
        try:
            await self._rpc.call("supervisor.startProcess", _full(program), False)  # noqa: FBT003  # do not wait
        except Fault as fault:
            # A start that failed at once is tried again by supervisord, and seen by whoever looks.
            self._unless(fault, ALREADY_STARTED, SPAWN_ERROR, BAD_NAME)

    async def _end(self, program: str) -> None:
        with contextlib.suppress(Fault):  # it ended by itself in this moment
            await self._rpc.call("supervisor.stopProcess", _full(program), False)  # noqa: FBT003  # do not wait

    async def _call(self, method: str, *arguments: Any) -> Any:
        try:
            return await self._rpc.call(method, *arguments)
        except Fault as fault:
            raise self._refused(fault) from fault

    def _unless(self, fault: Fault, *codes: int) -> None:
        if fault.faultCode not in codes:
            raise self._refused(fault) from fault

    def _refused(self, fault: Fault) -> DriverUnavailable:
        return DriverUnavailable(f"{self._name} refuses: {fault.faultString}", retry_after=1)


def _full(program: str) -> str:
    return f"{program}:{program}"


def _first_line(path: Path) -> str:
    try:
        with path.open(encoding="utf-8", errors="replace") as file:
            return file.readline()
    except OSError:  # it goes in this moment, or is not ours to read
        return ""


def _seen(raw: Mapping[str, Any]) -> Seen:
    code = int(raw["exitstatus"]) if raw["statename"] == "EXITED" else None  # 0 where nothing has ended, too
    return Seen(raw["name"], raw["statename"], int(raw["pid"]), code, raw["spawnerr"])
