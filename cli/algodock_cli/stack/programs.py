"""A declared program: what is started, as whom and with which environment, as one file that ``launch.py`` reads.

supervisord runs these files under ``up``, and ``EmbeddedServers`` runs the same files in tests.
"""

from __future__ import annotations

import dataclasses
import json
import os
import signal
import subprocess
import sys
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

import psutil

from algodock_cli.stack import launch

__all__ = ["OWN_USER", "Identity", "Process", "Program", "write_private"]


@dataclass(frozen=True)
class Identity:
    """As whom a program runs: as ourselves, as another user, or as another name for ourselves."""

    kind: Literal["own", "user", "namespace"] = "own"
    uid: int = 0
    gid: int = 0
    capabilities: tuple[str, ...] = ()


OWN_USER = Identity()


def write_private(path: Path, text: str) -> None:
    """Write a file that only its owner reads, in one step: readers see the old text or the new one."""
    path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
    draft = path.with_name(f"{path.name}.{os.getpid()}.draft")
    descriptor = os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
    with os.fdopen(descriptor, "w", encoding="utf-8") as file:
        file.write(text)
    draft.replace(path)


@dataclass(frozen=True)
class Program:
    """One process of the platform.

    ``stop_seconds`` is how long it may take to end after ``stop_signal`` before it is killed;
    ``stop_group`` says whether the signal goes to its children, too. ``nice``, 0 to 19, is how far it yields to the
    other programs where there are more of them than cores.
    """

    name: str
    command: tuple[str, ...]
    environment: dict[str, str] = field(repr=False)
    directory: Path
    identity: Identity = OWN_USER
    stop_signal: signal.Signals = signal.SIGTERM
    stop_seconds: int = 10
    stop_group: bool = True
    nice: int = 0

    def launch_command(self, run_folder: Path) -> list[str]:
        """Return the command that becomes this program, once :meth:`declare` has written its file."""
        return [sys.executable, "-I", "-S", launch.__file__, str(self._file(run_folder))]

    def declare(self, run_folder: Path, *, parent_death_signal: int = 0) -> list[str]:
        """Write this program's file into the run folder and return the command that becomes it."""
        self.directory.mkdir(parents=True, exist_ok=True)
        document = {
            "command": list(self.command),
            "environment": self.environment,
            "directory": str(self.directory),
            "identity": dataclasses.asdict(self.identity),
            "pid_file": str(self.pid_file(run_folder)),
            "parent_death_signal": parent_death_signal,
            "nice": self.nice,
        }
        write_private(self._file(run_folder), json.dumps(document, indent=1))
        self.pid_file(run_folder).parent.mkdir(parents=True, exist_ok=True)
        return self.launch_command(run_folder)

    def run_once(self, run_folder: Path, words: str = "") -> subprocess.CompletedProcess[str]:
        """Run this program to its end, two minutes at most, with ``words`` on its standard input."""
        try:
            return subprocess.run(
                self.declare(run_folder), input=words, text=True, capture_output=True, check=False, timeout=120
            )
        finally:
            self._file(run_folder).unlink()
            self.pid_file(run_folder).unlink(missing_ok=True)

    def pid_file(self, run_folder: Path) -> Path:
        """Return where this program's pid is noted while it runs."""
        return run_folder / "pids" / f"{self.name}.json"

    def _file(self, run_folder: Path) -> Path:
        return run_folder / "programs" / f"{self.name}.json"


@dataclass(frozen=True)
class Process:
    """A process that a pid file names, told from a later one of the same pid by when it started."""

    pid: int
    started: int | None

    @classmethod
    def from_file(cls, pid_file: Path) -> Process | None:
        """Return the process if it still runs, else ``None`` (also for a file that says nothing)."""
        try:
            noted = json.loads(pid_file.read_text(encoding="ascii"))
            process = cls(int(noted["pid"]), noted["started"])
        except (OSError, ValueError, KeyError, TypeError):
            return None
        return process if process.is_running() else None

    def is_running(self) -> bool:
        """Say whether this very process still runs; one that is only waited for does not."""
        try:
            if psutil.Process(self.pid).status() == psutil.STATUS_ZOMBIE:
                return False
        except psutil.NoSuchProcess:
            return False
        return self.started is None or launch.started_ticks(self.pid) == self.started

    def signal_group(self, number: signal.Signals) -> None:
        """Send a signal to the process and, where it leads a group, to all of that."""
        try:
            if os.getpgid(self.pid) == self.pid:
                os.killpg(self.pid, number)
            else:
                os.kill(self.pid, number)
        except ProcessLookupError:
            return
