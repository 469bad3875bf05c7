"""The embedded servers alone, for tests: started in a folder of their own, ended with the test run."""

from __future__ import annotations

import os
import signal
import subprocess
import threading
import time
from collections.abc import Mapping
from pathlib import Path
from types import TracebackType
from typing import Self

from algodock_cli.stack.errors import ServerNotReady
from algodock_cli.stack.ports import temporary_port
from algodock_cli.stack.secret_store import Secrets
from algodock_cli.stack.servers import Server, ServerContext, embedded_servers

__all__ = ["EmbeddedServers"]

_READY_S = 30.0
_POLL_S = 0.02


class EmbeddedServers:
    """PostgreSQL, Redis, a Kafka broker and an object store, real, on leased loopback ports.

    A server that the environment names (``DATABASE_URL``, ``REDIS_URL``, ``KAFKA_BOOTSTRAP``,
    ``S3_ENDPOINT``) is used as it is and not started. Started from the main thread, the servers
    end with this process, even when that is killed.

        with EmbeddedServers(tmp_path) as servers:
            os.environ.update(servers.environment)
    """

    def __init__(self, folder: Path, environment: Mapping[str, str] | None = None) -> None:
        """Declare the servers; ``environment`` is where real ones are named (default: this process's)."""
        self._folder = folder.resolve()
        self._run_folder = self._folder / "run"
        self._given = dict(os.environ if environment is None else environment)
        self._secrets = Secrets.load_or_make(self._folder / "secrets.json")
        self._processes: dict[str, subprocess.Popen[bytes]] = {}
        taken: set[int] = set()
        self._servers: dict[str, Server] = {
            name: make(
                ServerContext(
                    folder=self._folder / name,
                    run_folder=self._run_folder,
                    port=temporary_port(taken),
                    secrets=self._secrets,
                )
            )
            for name, make in embedded_servers(self._given).items()
        }

    @property
    def environment(self) -> dict[str, str]:
        """The variables by which services find every server, real or embedded, and their secrets."""
        named = ("DATABASE_", "REDIS_", "KAFKA_", "S3_")
        found = {key: value for key, value in self._given.items() if key.startswith(named) and value}
        found |= {
            "SECRET_KEY": self._secrets.secret_key,
            "IDENTITY_PUBLIC_KEY": self._secrets.identity_public_key,
            "IDENTITY_PRIVATE_KEY": self._secrets.identity_private_key,
            "CALLBACK_ALLOW_PRIVATE": "true",
            "ALGODOCK_EMBEDDED": "true",
        }
        for server in self._servers.values():
            found |= server.environment()
        return found

    @property
    def names(self) -> list[str]:
        """The servers that are embedded here: of ``postgres``, ``redis``, ``kafka``, ``objects``."""
        return list(self._servers)

    def start(self, *names: str) -> Self:
        """Start those of the named servers (default: all) that do not run, side by side; wait until each answers.

        Raises:
            ServerNotReady: one ended, or did not answer in 30 s; the rest is stopped.
            ServerMissing: one's program is not on this machine.
        """
        wanted = [name for name in names or self.names if name not in self._processes]
        try:
            for name in sorted(wanted, key=lambda name: name == "postgres"):  # its first start takes longest
                self._spawn(name)
            for name in wanted:
                self._wait_ready(name)
        except BaseException:
            self.stop()
            raise
        return self

    def stop(self, *names: str) -> None:
        """Stop the named servers (default: all) as their programs want it, killing those that hang."""
        wanted = [name for name in names or self.names if name in self._processes]
        for name in wanted:
            self._processes[name].send_signal(self._servers[name].program().stop_signal)
        for name in wanted:
            process = self._processes.pop(name)
            try:
                process.wait(timeout=10)
            except subprocess.TimeoutExpired:
                os.killpg(process.pid, signal.SIGKILL)
                process.wait()

    def kill(self, name: str) -> None:
        """Kill one server with SIGKILL, as a crash would; :meth:`start` brings it back on its port."""
        process = self._processes.pop(name)
        process.kill()
        process.wait()

    def pid(self, name: str) -> int:
        """Return the pid of a started server."""
        return self._processes[name].pid

    def log(self, name: str) -> str:
        """Return the last lines that a server wrote."""
        return "\n".join(self._log_file(name).read_text(encoding="utf-8", errors="replace").splitlines()[-20:])

    def _log_file(self, name: str) -> Path:
        return self._folder / "logs" / f"{name}.log"

    def _spawn(self, name: str) -> None:
        server = self._servers[name]
        server.prepare()
        program = server.program()
        with_us = threading.current_thread() is threading.main_thread()  # the kernel watches the thread
        command = program.declare(self._run_folder, parent_death_signal=program.stop_signal if with_us else 0)
        log = self._log_file(name)
        log.parent.mkdir(parents=True, exist_ok=True)
        with log.open("ab") as output:
            self._processes[name] = subprocess.Popen(  # our own launcher
                command, stdin=subprocess.DEVNULL, stdout=output, stderr=subprocess.STDOUT, start_new_session=True
            )

    def _wait_ready(self, name: str) -> None:
        end = time.monotonic() + _READY_S
        while not self._servers[name].is_ready():
            ended = self._processes[name].poll()
            if ended is not None or time.monotonic() > end:
                why = f"ended with {ended}" if ended is not None else f"did not answer in {_READY_S:.0f} s"
                raise ServerNotReady(f"{name} {why}:\n{self.log(name)}")
            time.sleep(_POLL_S)

    def __enter__(self) -> Self:
        """Start all."""
        return self.start()

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Stop all."""
        self.stop()
