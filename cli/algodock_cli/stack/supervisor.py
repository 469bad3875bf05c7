"""The project's own supervisord: whatever below it is killed comes back."""

from __future__ import annotations

import os
import shlex
import signal
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import closing, contextmanager, suppress
from dataclasses import dataclass
from http.client import HTTPException
from pathlib import Path
from typing import Any
from xmlrpc.client import ServerProxy

from algodock_cli.stack.data_folder import DataFolder
from algodock_cli.stack.errors import ServerNotReady
from algodock_cli.stack.programs import Process, Program, write_private

__all__ = ["ProgramState", "Supervisor"]

_NAME = "supervisord"
_START_S = 20.0
_POLL_S = 0.03
_AT_REST = frozenset({"STOPPED", "EXITED", "FATAL", "UNKNOWN"})

_HEAD = """[unix_http_server]
file={socket}
chmod=0700

[supervisord]
logfile={log}
logfile_maxbytes=10MB
logfile_backups=2
loglevel=info
pidfile={pid}
nodaemon=true
silent=true
umask=077
directory={directory}

[rpcinterface:supervisor]
supervisor.rpcinterface_factory = supervisor.rpcinterface:make_main_rpcinterface

[supervisorctl]
serverurl=unix://{socket}
"""

_PROGRAM = """
[program:{name}]
command={command}
directory={directory}
stdout_logfile={log}
stdout_logfile_maxbytes=10MB
stdout_logfile_backups=5
redirect_stderr=true
autostart=true
autorestart=true
startsecs=1
startretries=1000000
stopsignal={signal}
stopwaitsecs={seconds}
stopasgroup={group}
killasgroup=true
"""


@dataclass(frozen=True)
class ProgramState:
    """What supervisord says of one program."""

    name: str
    state: str
    pid: int
    uptime_s: float


class Supervisor:
    """supervisord over one data folder: its configuration, its life, and what it knows."""

    def __init__(self, folder: DataFolder) -> None:
        """Name the files; nothing is written or started yet."""
        self._folder = folder
        self._configuration = folder.run / "supervisord.conf"
        self._socket = folder.socket("supervisord.sock")

    def process(self) -> Process | None:
        """Return supervisord's process if it runs."""
        return Process.from_file(self._folder.run / "pids" / f"{_NAME}.json")

    def start(self, groups: Mapping[str, Sequence[Program]]) -> None:
        """Declare the programs and start supervisord over them.

        Groups are stopped one after the other, the last first; the programs of one at once.

        Raises:
            ServerNotReady: supervisord did not come up; the message ends with its log.
        """
        self._folder.logs.mkdir(parents=True, exist_ok=True, mode=0o700)
        self._socket.unlink(missing_ok=True)
        self._write_configuration(groups)
        own = Program(
            name=_NAME,
            command=(sys.executable, "-P", "-m", "supervisor.supervisord", "-c", str(self._configuration)),
            environment={"PATH": os.environ.get("PATH", os.defpath), "HOME": os.environ.get("HOME", "/"), "TZ": "UTC"},
            directory=self._folder.run,
        )
        with (self._folder.logs / "supervisord.out").open("wb") as output:
            child = subprocess.Popen(
                own.declare(self._folder.run),
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )
        end = time.monotonic() + _START_S
        while self._states() is None:
            if child.poll() is not None or time.monotonic() > end:
                said = (self._folder.logs / "supervisord.out").read_text(encoding="utf-8", errors="replace")
                raise ServerNotReady(f"supervisord did not come up: {said.strip()[-2000:]}")
            time.sleep(_POLL_S)

    def states(self) -> list[ProgramState]:
        """Return the state of every program; empty when supervisord does not answer."""
        return self._states() or []

    def change(self, groups: Mapping[str, Sequence[Program]]) -> None:
        """Declare other groups under the running supervisord: new ones start, those that are gone are stopped.

        Groups that are declared as before go on undisturbed.

        Raises:
            ServerNotReady: supervisord does not answer.
        """
        self._write_configuration(groups)
        try:
            with self._calls() as calls:
                [[added, changed, removed]] = calls.reloadConfig()
                self._stop_together(calls, [*changed, *removed])
                for name in [*changed, *removed]:
                    calls.removeProcessGroup(name)
                for name in [*added, *changed]:
                    calls.addProcessGroup(name)
        except (OSError, HTTPException) as error:
            raise ServerNotReady(f"supervisord does not answer: {error}") from error

    def stop(self, together: Sequence[str] = ()) -> None:
        """Stop supervisord and with it every program, waiting as long as the programs may take.

        supervisord stops one group after the other; those in ``together`` are stopped first, all at once.
        """
        process = self.process()
        if process is not None:
            with suppress(OSError, HTTPException), self._calls() as calls:
                self._stop_together(calls, together)
            os.kill(process.pid, signal.SIGTERM)
            end = time.monotonic() + 45
            while process.is_running() and time.monotonic() < end:
                time.sleep(_POLL_S)
        self.end_leftovers()

    def end_leftovers(self) -> list[str]:
        """End every program that a pid file names and that still runs; return their names.

        There are some after supervisord itself was killed, or when one did not stop.
        """
        left = {file: process for file in self._pid_files() if (process := Process.from_file(file))}
        for number, patience in ((signal.SIGTERM, 5.0), (signal.SIGKILL, 5.0)):
            for process in left.values():
                if process.is_running():
                    process.signal_group(number)
            end = time.monotonic() + patience
            while any(process.is_running() for process in left.values()) and time.monotonic() < end:
                time.sleep(_POLL_S)
        for file in self._pid_files():
            file.unlink(missing_ok=True)
        return [file.stem for file in left]

    def _pid_files(self) -> list[Path]:
        files = sorted((self._folder.run / "pids").glob("*.json"))
        return sorted(files, key=lambda file: file.stem != _NAME)  # supervisord first, or it starts them again

    def _write_configuration(self, groups: Mapping[str, Sequence[Program]]) -> None:
        parts = [
            _HEAD.format(
                socket=_escaped(self._socket),
                log=_escaped(self._folder.logs / "supervisord.log"),
                pid=_escaped(self._folder.run / "supervisord.pid"),
                directory=_escaped(self._folder.run),
            )
        ]
        for place, (group, programs) in enumerate(groups.items()):
            names = ",".join(program.name for program in programs)
            parts.append(f"\n[group:{group}]\nprograms={names}\npriority={place}\n")
            for program in programs:
                command = shlex.join(program.declare(self._folder.run))
                parts.append(
                    _PROGRAM.format(
                        name=program.name,
                        command=_escaped(command),
                        directory=_escaped(self._folder.run),
                        log=_escaped(self._folder.logs / f"{program.name}.log"),
                        signal=program.stop_signal.name.removeprefix("SIG"),
                        seconds=program.stop_seconds,
                        group=str(program.stop_group).lower(),
                    )
                )
        write_private(self._configuration, "".join(parts))

    def _states(self) -> list[ProgramState] | None:
        if not self._socket.exists():
            return None
        try:
            with self._calls() as calls:
                told = calls.getAllProcessInfo()
        except (OSError, HTTPException):
            return None
        return [
            ProgramState(str(one["name"]), str(one["statename"]), int(one["pid"]), float(one["now"] - one["start"]))
            for one in told
        ]

    @contextmanager
    def _calls(self) -> Iterator[Any]:
        """Give supervisord's own calls, by their names."""
        from supervisor.xmlrpc import SupervisorTransport  # noqa: TID251, RUF100

        with closing(SupervisorTransport(None, None, f"unix://{self._socket}")) as transport:
            yield ServerProxy("http://localhost", transport=transport).supervisor

    @staticmethod
    def _stop_together(calls: Any, groups: Sequence[str]) -> None:
        """Tell all of them to stop, then wait until none runs."""
        for name in groups:
            calls.stopProcessGroup(name, False)  # noqa: FBT003  # XML-RPC knows no names
        while any(one["group"] in groups and one["statename"] not in _AT_REST for one in calls.getAllProcessInfo()):
            time.sleep(_POLL_S)


def _escaped(text: str | Path) -> str:
    """Return the text as supervisord's file wants it: it expands ``%``, and ``;`` after a space begins a comment."""
    return str(text).replace("%", "%%")
