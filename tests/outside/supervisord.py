"""A supervisord as a user runs it, with a program of the user's own and nothing of the platform in its files."""

from __future__ import annotations

import asyncio
import os
import signal
import sys
from typing import TYPE_CHECKING, Any

import psutil
from supervisor.xmlrpc import SupervisorTransport

if TYPE_CHECKING:
    from pathlib import Path

__all__ = ["UsersSupervisord"]


class UsersSupervisord:
    """Listens on ``users.sock`` in ``folder`` and reads ``conf.d/*.conf`` there; ``web`` is the user's own program."""

    def __init__(self, folder: Path) -> None:
        """Write its configuration."""
        self.folder = folder
        self.url = f"unix://{folder}/users.sock"
        self.programs_folder = folder / "conf.d"
        self.programs_folder.mkdir(parents=True, exist_ok=True)
        (self.programs_folder / "web.conf").write_text("[program:web]\ncommand=/bin/sleep 600\nautostart=true\n")
        self._configuration = folder / "users.conf"
        self._configuration.write_text(
            f"[unix_http_server]\nfile={folder}/users.sock\n\n"
            f"[supervisord]\npidfile={folder}/users.pid\nlogfile={folder}/users.log\nnodaemon=true\n\n"
            "[rpcinterface:supervisor]\n"
            "supervisor.rpcinterface_factory=supervisor.rpcinterface:make_main_rpcinterface\n\n"
            f"[include]\nfiles={self.programs_folder}/*.conf\n"
        )
        self._process: asyncio.subprocess.Process | None = None

    async def start(self) -> None:
        """Start it and wait until its program runs."""
        self._process = await asyncio.create_subprocess_exec(
            sys.executable, "-m", "supervisor.supervisord", "-c", str(self._configuration),
            stdin=asyncio.subprocess.DEVNULL, stdout=asyncio.subprocess.DEVNULL, stderr=asyncio.subprocess.DEVNULL,
        )  # fmt: skip
        async with asyncio.timeout(60):
            while not (await self.programs()).get("web"):  # noqa: ASYNC110  # only its answers tell
                await asyncio.sleep(0.05)

    async def programs(self) -> dict[str, int]:
        """Return the process ids of the programs that are not the platform's."""
        try:
            found = await asyncio.to_thread(self._all)
        except OSError:
            return {}
        return {one["name"]: one["pid"] for one in found if not one["name"].startswith("ai-")}

    def _all(self) -> Any:
        transport = SupervisorTransport(serverurl=self.url)
        import xmlrpc.client

        with xmlrpc.client.ServerProxy("http://localhost", transport) as server:
            return server.supervisor.getAllProcessInfo()

    def kill(self) -> None:
        """Kill it as a crash does: what it ran goes on."""
        if self._process is not None:
            self._process.send_signal(signal.SIGKILL)

    def end(self) -> None:
        """End it with everything below it."""
        if self._process is None or self._process.returncode is not None:
            return
        below = psutil.Process(self._process.pid).children(recursive=True)
        self._process.send_signal(signal.SIGTERM)
        for one in below:
            if one.is_running():
                os.kill(one.pid, signal.SIGKILL)
