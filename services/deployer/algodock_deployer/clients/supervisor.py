"""``ProcessDriver`` with supervisord: a daemon of the deployer's own that outlives it and the whole platform."""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import psutil
import structlog

from algodock_common.scheduling import as_usual
from algodock_deployer.clients.files import tail, write_whole
from algodock_deployer.clients.processes import DriverUnavailable, Seen
from algodock_deployer.clients.tools import PATH
from algodock_deployer.clients.xmlrpc import Address, Fault, Rpc
from algodock_deployer.domain.programs import (
    GROUP,
    ProgramSpec,
    full_name,
    group_section,
    program_section,
    socket_path,
    start_script,
    supervisord_config,
)

if TYPE_CHECKING:
    from collections.abc import Mapping

__all__ = ["EXTENSION", "SupervisorDriver"]

log = structlog.get_logger()

EXTENSION = "algodock_deployer.supervisor_extension:make_interface"
GROUP_FILE = "ai-services.ini"
BAD_NAME, NOT_RUNNING = 10, 70
PAUSED = frozenset({"STOPPED", "FATAL"})  # EXITED is on its way to the next start
START_WAIT_S = 15.0
STOP_WAIT_S = 20.0
LOOK_EVERY_S = 0.05
ORPHAN_GRACE_S = 3.0


class SupervisorDriver:
    """Keeps ``<folder>/supervisord.{conf,pid,sock}``, one file a program in ``programs``, and pid files in ``run``."""

    def __init__(self, folder: Path, programs: Path, log_file: Path) -> None:
        """Nothing is started before ``ensure``."""
        self.folder = folder.absolute()
        self.programs = programs.absolute()
        self.pids = self.folder / "run"
        self._log_file = log_file.absolute()
        self._rpc = Rpc(Address(self._socket))
        self._lock = asyncio.Lock()

    @property
    def _socket(self) -> Path:
        return socket_path(self.folder)

    @property
    def holds(self) -> bool:
        """Return whether a supervisord of ours may run, or programs are written down for one."""
        return self._socket.exists() or any(path.name != GROUP_FILE for path in self.programs.glob("ai-*.ini"))

    def may_have(self, program: str) -> bool:  # noqa: ARG002  # the Protocol's
        """Return that it may: only the supervisord knows."""
        return True

    async def ensure(self) -> bool:
        """Start supervisord unless it answers; what an earlier one left behind is ended first."""
        async with self._lock:
            if await self._answers():
                return False
            await self._end_leftovers()
            self._write_configuration()
            await self._spawn()
            return True

    async def start(self, spec: ProgramSpec) -> None:
        """Write the program's files and start it."""
        for path in (spec.script, spec.pid_file, spec.stdout, spec.stderr):
            path.parent.mkdir(parents=True, exist_ok=True)
        write_whole(spec.script, start_script(spec), 0o700)
        async with self._lock:
            # Program and group together: a supervisord that starts in between would take the program for a group
            # of its own, and it would run twice.
            write_whole(self._file(spec.program), program_section(spec), 0o600)
            self._write_group()
            try:
                await self._rpc.call("algodock.add", full_name(spec.program))
            except Fault as fault:
                msg = f"supervisord refuses {spec.program}: {fault.faultString}"
                raise DriverUnavailable(msg) from fault

    async def look(self, program: str) -> Seen | None:
        """Return how the program stands this moment."""
        try:
            return _seen(await self._rpc.call("algodock.look", full_name(program)))
        except Fault as fault:
            if fault.faultCode == BAD_NAME:
                return None
            raise DriverUnavailable(fault.faultString) from fault

    async def look_all(self) -> Mapping[str, Seen]:
        """Return all programs of the group."""
        try:
            found = [_seen(raw) for raw in await self._rpc.call("algodock.all", GROUP)]
        except Fault as fault:
            raise DriverUnavailable(fault.faultString) from fault
        return {seen.program: seen for seen in found}

    async def pause(self, program: str) -> None:
        """End the program; its file stays, so that it can be started again."""
        async with asyncio.timeout(STOP_WAIT_S):
            while (seen := await self.look(program)) is not None and seen.state not in PAUSED:
                if seen.state != "STOPPING":
                    with contextlib.suppress(Fault):  # it ended by itself in this moment
                        await self._rpc.call("supervisor.stopProcess", full_name(program), False)  # noqa: FBT003  # wait
                await asyncio.sleep(LOOK_EVERY_S)

    async def resume(self, program: str) -> None:
        """Start a paused program again."""
        async with self._lock:
            if not self._file(program).exists():
                return
            try:
                await self._rpc.call("algodock.add", full_name(program))
            except Fault as fault:
                msg = f"supervisord refuses {program}: {fault.faultString}"
                raise DriverUnavailable(msg) from fault

    async def stop(self, program: str) -> None:
        """End the program and forget it."""
        async with self._lock:
            self._file(program).unlink(missing_ok=True)
            self._write_group()
        async with asyncio.timeout(STOP_WAIT_S):
            while (seen := await self.look(program)) is not None:  # supervisord tells nobody of an end
                if seen.alive or seen.state == "BACKOFF":
                    with contextlib.suppress(Fault):  # it ended by itself in this moment
                        await self._rpc.call("supervisor.stopProcess", full_name(program), False)  # noqa: FBT003  # wait
                elif seen.state != "STOPPING":
                    with contextlib.suppress(Fault):  # still running: look again
                        await self._rpc.call("algodock.remove", full_name(program))
                        continue
                await asyncio.sleep(LOOK_EVERY_S)
        (self.pids / f"{program}.pid").unlink(missing_ok=True)

    async def close(self) -> None:
        """Do nothing: supervisord goes on, and each call has a connection of its own."""

    def _file(self, program: str) -> Path:
        return self.programs / f"{program}.ini"

    def _write_configuration(self) -> None:
        for folder in (self.folder, self.programs, self.pids, self._log_file.parent):
            folder.mkdir(parents=True, exist_ok=True)
        if self._socket.parent != self.folder:
            self._socket.parent.mkdir(mode=0o700, exist_ok=True)
            if self._socket.parent.stat().st_uid != os.geteuid():
                msg = f"{self._socket.parent} belongs to somebody else"
                raise DriverUnavailable(msg)
        text = supervisord_config(folder=self.folder, programs=self.programs, log=self._log_file, extension=EXTENSION)
        write_whole(self.folder / "supervisord.conf", text, 0o600)
        self._write_group()

    def _write_group(self) -> None:
        self.programs.mkdir(parents=True, exist_ok=True)
        names = [path.stem for path in self.programs.glob("ai-*.ini") if path.name != GROUP_FILE]
        write_whole(self.programs / GROUP_FILE, group_section(names), 0o600)

    async def _answers(self) -> bool:
        if not self._socket.exists():
            return False
        try:
            await self._rpc.call("algodock.all", GROUP)
        except (DriverUnavailable, Fault):
            return False
        return True

    async def _spawn(self) -> None:
        """Start the daemon with an environment in which nothing of the platform's is."""
        environment = {"PATH": PATH, "LANG": os.environ.get("LANG", "C.UTF-8"), "HOME": str(self.folder)}
        said = self.folder / "supervisord.out"
        with said.open("wb") as output:  # a file: the daemon may hold what it inherited for as long as it lives
            process = await asyncio.create_subprocess_exec(
                sys.executable, "-m", "supervisor.supervisord", "-c", str(self.folder / "supervisord.conf"),
                cwd=self.folder, env=environment, stdin=asyncio.subprocess.DEVNULL,
                stdout=output, stderr=output, start_new_session=True,
            )  # fmt: skip
        as_usual(process.pid)
        try:
            async with asyncio.timeout(START_WAIT_S):
                code = await process.wait()
                while code == 0 and not await self._answers():  # noqa: ASYNC110  # only its socket tells when it is ready
                    await asyncio.sleep(LOOK_EVERY_S)
        except TimeoutError as error:
            msg = "the algorithms' supervisord did not come up"
            raise DriverUnavailable(msg) from error
        if code != 0:
            msg = f"the algorithms' supervisord does not start: {' '.join(tail(said, 5))}"
            raise DriverUnavailable(msg)
        log.info("supervisord_started", folder=str(self.folder))

    async def _end_leftovers(self) -> None:
        """End a supervisord that does not answer, and the programs of one that was killed, by their pid files."""
        ended = []
        supervisord = self.folder / "supervisord.pid"
        for path in [supervisord, *self.pids.glob("*.pid")]:
            process = _process_of(path, self.folder if path == supervisord else None)
            if process is not None:
                ended.append(process)
                _signal_group(process.pid, signal.SIGKILL if path == supervisord else signal.SIGTERM)
            path.unlink(missing_ok=True)
        self._socket.unlink(missing_ok=True)
        if not ended:
            return
        log.warning("leftovers_ended", pids=[process.pid for process in ended])
        _, living = await asyncio.to_thread(psutil.wait_procs, ended, timeout=ORPHAN_GRACE_S)
        for process in living:
            _signal_group(process.pid, signal.SIGKILL)
        await asyncio.to_thread(psutil.wait_procs, living, timeout=ORPHAN_GRACE_S)


def _process_of(path: Path, folder: Path | None) -> psutil.Process | None:
    """Return the process that wrote the pid file, unless its id belongs to another by now."""
    try:
        process = psutil.Process(int(path.read_text().strip()))
        if process.create_time() > path.stat().st_mtime + 1 or process.status() == psutil.STATUS_ZOMBIE:
            return None
        if folder is not None and str(folder) not in " ".join(process.cmdline()):
            return None
        # supervisord makes each program the leader of a process group, and itself one of a session.
        return process if os.getpgid(process.pid) == process.pid else None
    except (OSError, ValueError, psutil.Error):
        return None


def _signal_group(pid: int, number: signal.Signals) -> None:
    with contextlib.suppress(ProcessLookupError, PermissionError):
        os.killpg(pid, number)


def _seen(raw: Any) -> Seen:
    code = int(raw["exitstatus"])
    return Seen(raw["name"], raw["state"], int(raw["pid"]), None if code < 0 else code, raw["spawnerr"])
