"""The servers below a platform, stopped and started as their operator would: by the supervisord that they run under."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from algodock_cli.stack.data_folder import project_folder
from algodock_cli.stack.programs import Process
from tests.outside.platform import ENVIRONMENT, Platform, eventually

__all__ = ["Servers"]

_NAMED_BY = {"postgres": "DATABASE_URL", "redis": "REDIS_URL", "kafka": "KAFKA_BOOTSTRAP", "objects": "S3_ENDPOINT"}


class Servers:
    """The embedded servers of a platform, or the real ones that ``--real`` started."""

    def __init__(self, platform: Platform) -> None:
        named = all(ENVIRONMENT.get(variable) for variable in _NAMED_BY.values())
        real = ENVIRONMENT.get("ALGODOCK_REAL_DIR") or project_folder() / ".algodock" / "real"
        folder = Path(real if named else platform.environment["ALGODOCK_DATA_DIR"])
        self.real = named
        self._run = folder / "run"
        self._data = folder / "servers"

    def pid(self, name: str) -> int:
        """Return the process of a server."""
        process = Process.from_file(self._run / "pids" / f"{name}.json")
        assert process is not None, f"{name} does not run"
        return process.pid

    @contextmanager
    def stopped(self, name: str, *, lose_data: bool = False) -> Iterator[None]:
        """Keep a server down for the block; with ``lose_data`` the broker forgets what it held."""
        self._control("stop", name)
        try:
            if lose_data:
                self._forget(name)
            yield
        finally:
            self._control("start", name)

    def signal(self, name: str, number: signal.Signals) -> None:
        """Send a signal to a server."""
        os.kill(self.pid(name), number)

    @contextmanager
    def small_disk(self, name: str, *, megabytes: int) -> Iterator[None]:
        """Have a server work on an empty disk of this size for the block, then on its own again with what was added."""
        folder, kept = self._data / name, self._data / f"{name}.kept"
        self._control("stop", name)
        owner = folder.stat()
        options = f"size={megabytes}m,uid={owner.st_uid},gid={owner.st_gid},mode=0700"
        _run("mount", "-t", "tmpfs", "-o", options, "tmpfs", str(folder))
        try:
            self._control("start", name)
            yield
        finally:
            self._control("stop", name)
            _run("cp", "-a", str(folder), str(kept))
            _run("umount", "--lazy", str(folder))  # nobody works in it any more
            _run("cp", "-a", f"{kept}/.", str(folder))
            shutil.rmtree(kept)
            self._control("start", name)

    def _control(self, action: str, name: str) -> None:
        command = [sys.executable, "-m", "supervisor.supervisorctl", "-c", str(self._run / "supervisord.conf")]
        ended = subprocess.run(
            [*command, action, f"servers:{name}"], check=False, capture_output=True, text=True, timeout=60
        )
        assert "ERROR" not in ended.stdout, ended.stdout
        if action == "start":
            eventually(lambda: Process.from_file(self._run / "pids" / f"{name}.json"))

    def _forget(self, name: str) -> None:
        """Delete the topics' messages; the embedded broker keeps none beyond its own life."""
        assert name == "kafka"
        for partition in self._data.glob("kafka/**/*-[0-9]*"):
            if partition.is_dir() and not partition.name.startswith("__cluster_metadata"):
                shutil.rmtree(partition)


def _run(*command: str) -> None:
    subprocess.run(command, check=True)
