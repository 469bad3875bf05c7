"""One plain process that outlives who started it: its record on disk, whether it is still the same one, its end."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import shutil
import signal
import subprocess
import time
from dataclasses import asdict, dataclass
from pathlib import Path

import psutil
import structlog

from algodock_common.scheduling import as_usual
from algodock_deployer.clients.files import write_whole
from algodock_deployer.clients.processes import Seen
from algodock_deployer.clients.tools import PATH

__all__ = ["LOG_BYTES", "KeptProcess", "Record", "ends", "rotate"]

log = structlog.get_logger()

LOG_BYTES = 10 * 2**20
LOG_BACKUPS = 5
SETTLED_S = 1.0
STARTED = 19  # of the fields of /proc/<pid>/stat behind the name: when the process began, in ticks since boot
STATE = 0


@dataclass
class Record:
    """What a later deployer must know.

    ``ticks`` (since boot) is when the process began and ``boot`` which boot that was: no other is taken for it.
    A ``paused`` one is not started before somebody resumes it.
    """

    program: str
    script: str
    folder: str
    stdout: str
    stderr: str
    pid: int = 0
    ticks: int = 0
    boot: str = ""
    paused: bool = False


class KeptProcess:
    """A program with its process, whether this deployer started it or an earlier one."""

    def __init__(self, record: Record, folder: Path) -> None:
        """Nothing is written or started yet."""
        self.record = record
        self._state = "STARTING"
        self.exit_code: int | None = None
        self.detail = ""
        self._file = folder / f"{record.program}.json"
        self._child: subprocess.Popen[bytes] | None = None
        self._began: float | None = None

    @property
    def gave_up(self) -> bool:
        """Return whether it is not started any more."""
        return self._state == "FATAL"

    @property
    def pid_file(self) -> Path:
        """Return where its start script notes its process id, before anybody else can."""
        return self._file.with_suffix(".pid")

    @property
    def logs(self) -> tuple[Path, Path]:
        """Return the files that it writes to."""
        return Path(self.record.stdout), Path(self.record.stderr)

    @classmethod
    def read(cls, path: Path) -> KeptProcess | None:
        """Return the program of a record; None when it is damaged.

        A process that was started and not noted any more is known by the pid file of its start script.
        """
        try:
            kept = cls(Record(**json.loads(path.read_text(encoding="utf-8"))), path.parent)
        except (OSError, ValueError, TypeError):
            return None
        if kept.record.boot != _boot():
            kept.record.pid = kept.record.ticks = 0
        if not kept.alive:
            with contextlib.suppress(OSError, ValueError, psutil.Error):
                pid, noted = int(kept.pid_file.read_text(encoding="ascii")), kept.pid_file.stat().st_mtime
                if os.getpgid(pid) == pid and psutil.Process(pid).create_time() <= noted + 1:
                    kept._note(pid)  # its own
        if kept.record.paused:
            kept._state = "STOPPED"
        elif kept.alive:
            kept._state, kept._began = "RUNNING", 0.0  # its own; long ago
        return kept

    @property
    def alive(self) -> bool:
        """Return whether its process runs: the very one, and no zombie."""
        if self._child is not None and self._child.poll() is not None:
            return False
        stat = _stat(self.record.pid)
        return stat is not None and stat[STATE] not in "ZX" and int(stat[STARTED]) == self.record.ticks

    def save(self) -> None:
        """Write the record."""
        write_whole(self._file, json.dumps(asdict(self.record)), 0o600)

    def forget(self) -> None:
        """Remove the record and the pid file."""
        self._file.unlink(missing_ok=True)
        self.pid_file.unlink(missing_ok=True)

    def spawn(self) -> None:
        """Start the process as the leader of a session, its output appended to its logs.

        Raises:
            OSError: it cannot be started, and why.
        """
        with Path(self.record.stdout).open("ab") as stdout, Path(self.record.stderr).open("ab") as stderr:
            child = subprocess.Popen(
                ["/bin/sh", self.record.script],
                cwd=self.record.folder,
                env={"PATH": PATH},
                stdin=subprocess.DEVNULL,
                stdout=stdout,
                stderr=stderr,
                start_new_session=True,
            )
        as_usual(child.pid)
        self._child = child
        self._state, self.detail, self._began = "RUNNING", "", time.monotonic()
        self._note(child.pid)

    def send(self, number: signal.Signals) -> None:
        """Signal its whole process group, also what is left of that when the process itself has ended."""
        pid, stat = self.record.pid, _stat(self.record.pid)
        if pid > 1 and (stat is None or int(stat[STARTED]) == self.record.ticks):  # else the number is another's now
            with contextlib.suppress(ProcessLookupError, PermissionError):
                os.killpg(pid, number)

    def ended(self) -> float | None:
        """Note the end of its process; return how many seconds it lived, None when nobody here saw it alive."""
        self.exit_code = self._child.poll() if self._child is not None else None
        self._state = "BACKOFF"
        began, self._began = self._began, time.monotonic()
        return None if began is None else time.monotonic() - began

    def pause(self) -> None:
        """Note, for later deployers too, that it is to be ended and not started again."""
        self._state, self.record.paused = "STOPPED", True
        self.save()

    def give_up(self) -> None:
        """Note that it is not started any more."""
        self._state = "FATAL"

    def seen(self) -> Seen:
        """Return how it stands this moment."""
        code = self._child.returncode if self._child is not None else None
        code = self.exit_code if code is None else code
        told = None if code is None or code < 0 else code  # a signal has no code
        if self._state != "RUNNING":
            return Seen(self.record.program, self._state, 0, told, self.detail)
        if not self.alive:
            code = self._child.returncode if self._child is not None else None
            return Seen(self.record.program, "EXITED", 0, code if code and code > 0 else told, self.detail)
        young = time.monotonic() - (self._began or 0.0) < SETTLED_S
        return Seen(self.record.program, "STARTING" if young else "RUNNING", self.record.pid, told, self.detail)

    def _note(self, pid: int) -> None:
        stat = _stat(pid)
        self.record.pid, self.record.ticks, self.record.boot = pid, int(stat[STARTED]) if stat else 0, _boot()
        try:
            self.save()
        except OSError as error:  # the pid file of its start script says it, too
            log.warning("record_not_written", program=self.record.program, error=str(error))


async def ends(kept: KeptProcess) -> None:
    """Return when the program's process has ended; the kernel says so, nobody polls."""
    try:
        descriptor = os.pidfd_open(kept.record.pid)
    except (ProcessLookupError, ValueError):
        return
    loop = asyncio.get_running_loop()
    ended = asyncio.Event()
    try:
        if not kept.alive:  # gone before the descriptor was there, which may be another's
            return
        loop.add_reader(descriptor, ended.set)
        try:
            await ended.wait()
        finally:
            loop.remove_reader(descriptor)
    finally:
        os.close(descriptor)


def rotate(*paths: Path) -> None:
    """Copy a log that is past its size aside and empty it: the program holds it open, and appends."""
    for path in paths:
        try:
            if path.stat().st_size <= LOG_BYTES:
                continue
        except FileNotFoundError:
            continue
        for number in range(LOG_BACKUPS - 1, 0, -1):
            older = path.with_name(f"{path.name}.{number}")
            if older.exists():
                older.rename(path.with_name(f"{path.name}.{number + 1}"))
        shutil.copyfile(path, path.with_name(f"{path.name}.1"))
        os.truncate(path, 0)


def _stat(pid: int) -> list[str] | None:
    """Return the fields of ``/proc/<pid>/stat`` behind the name; None when there is no such process."""
    try:
        text = Path(f"/proc/{pid}/stat").read_text(encoding="utf-8", errors="replace")
    except OSError:
        return None
    return text.rpartition(")")[2].split()


def _boot() -> str:
    return Path("/proc/sys/kernel/random/boot_id").read_text(encoding="ascii").strip()
