"""An nginx of the platform's own: given a configuration, it serves by it, or says why not and serves as before."""

from __future__ import annotations

import asyncio
import hashlib
import os
import re
import signal
from pathlib import Path
from typing import TYPE_CHECKING, Final, Protocol

import psutil

from algodock_common.errors import Unavailable
from algodock_deployer.clients.files import write_whole
from algodock_deployer.clients.short_runs import run_briefly

if TYPE_CHECKING:
    from collections.abc import Mapping

__all__ = ["EdgeRefused", "EdgeServer", "Nginx", "certificate_mark"]

TEST_S: Final = 30.0
START_S: Final = 30.0
LOOK_EVERY_S: Final = 0.02
LARGE_LOG: Final = 10 * 2**20
KEPT_LOGS: Final = 5
LOGS: Final = ("grpc.log", "error.log")
_FORMER: Final = re.compile(r"^\d{4}/\d\d/\d\d \d\d:\d\d:\d\d \[\w+\] \d+#\d+: |^nginx: (\[\w+\] )?")
_LEAVING: Final = "shutting down"


class EdgeRefused(Unavailable):
    """nginx does not take a configuration; what it served by before holds."""

    code = "edge-refused"


class EdgeServer(Protocol):
    """The edge's server."""

    async def apply(self, text: str) -> None:
        """Serve by ``text`` from now on; return when every new connection is served so.

        Raises:
            EdgeRefused: it cannot be, and why; the configuration before it is untouched.
        """
        ...

    async def version(self) -> tuple[int, ...]:
        """Return the server's version.

        Raises:
            EdgeRefused: there is none.
        """
        ...

    async def current(self) -> str | None:
        """Return what it serves by, None where it does not run."""
        ...

    async def workers(self) -> Mapping[int, bool]:
        """Return the processes that serve, and whether each only ends what it has begun."""
        ...

    async def rotate(self) -> None:
        """Put large logs aside."""
        ...

    async def stop(self) -> None:
        """End the server, if it runs; open calls are cut off."""
        ...


class Nginx:
    """``EdgeServer`` by an nginx that outlives the deployer, found again by its pid file."""

    def __init__(self, folder: Path, binary: str) -> None:
        """``folder`` holds its configuration, logs and pid file; ``binary`` is a path, or a name on PATH."""
        self._folder = folder
        self._binary = binary
        self._config = folder / "nginx.conf"

    async def version(self) -> tuple[int, ...]:
        """Return nginx's version.

        Raises:
            EdgeRefused: there is no nginx.
        """
        found = re.search(r"nginx/(\d+)\.(\d+)\.(\d+)", await self._run("-v"))
        if found is None:
            raise EdgeRefused(f"{self._binary} is no nginx")
        return tuple(int(part) for part in found.groups())

    async def apply(self, text: str) -> None:
        """Test the configuration beside the one in use, then put it in its place and reload, or start."""
        draft = self._folder / "nginx.conf.next"
        await asyncio.to_thread(self._prepare, draft, text)
        await self._run("-t", "-q", "-c", str(draft))
        before = self._config.read_text("utf-8") if self._config.exists() else None
        draft.rename(self._config)
        try:
            await self._take_up()
        except EdgeRefused:
            # It is the disk that would decide at the next start: the good one belongs there.
            if before is None:
                self._config.unlink(missing_ok=True)
            else:
                write_whole(self._config, before, 0o600)
            raise

    def _prepare(self, draft: Path, text: str) -> None:
        (self._folder / "temporary").mkdir(mode=0o711, parents=True, exist_ok=True)
        write_whole(draft, text, 0o600)

    async def _take_up(self) -> None:
        master = await asyncio.to_thread(self._master)
        log = self._folder / "error.log"
        said = log.stat().st_size if log.exists() else 0
        if master is None:
            await self._run("-c", str(self._config))
            old: frozenset[int] = frozenset()
        else:
            old = frozenset(await self.workers())
            master.send_signal(signal.SIGHUP)
        try:
            async with asyncio.timeout(START_S):
                while not await asyncio.to_thread(self._taken_up, old):
                    if (why := await asyncio.to_thread(_emergency, log, said)) is not None:
                        raise EdgeRefused(f"nginx cannot serve so: {why}")
                    await asyncio.sleep(LOOK_EVERY_S)  # a reload is told to nobody
        except TimeoutError as error:
            raise EdgeRefused(f"nginx did not take its configuration up within {START_S:g} s") from error

    def _taken_up(self, old: frozenset[int]) -> bool:
        """Return whether there are new workers, and the old ones take no connections any more."""
        workers = self._workers()
        fresh = [pid for pid, leaves in workers.items() if pid not in old and not leaves]
        return bool(fresh) and all(workers.get(pid, True) for pid in old)

    async def current(self) -> str | None:
        """Return its configuration, None where no master lives."""
        return await asyncio.to_thread(self._current)

    def _current(self) -> str | None:
        try:
            return self._config.read_text("utf-8") if self._master() is not None else None
        except FileNotFoundError:
            return None

    async def workers(self) -> Mapping[int, bool]:
        """Return its workers."""
        return await asyncio.to_thread(self._workers)

    async def rotate(self) -> None:
        """Put logs past 10 MB aside, five of each at most.

        By a reload: the master opens the new ones. Told to reopen them, workers would do so as their own user, who may
        not search the platform's folder.
        """
        if await asyncio.to_thread(self._put_aside) and await asyncio.to_thread(self._master) is not None:
            await self._take_up()

    async def stop(self) -> None:
        """End it: open calls are cut off."""
        master = await asyncio.to_thread(self._master)
        if master is not None:
            master.terminate()
            await asyncio.to_thread(psutil.wait_procs, [master], 10)

    def _put_aside(self) -> bool:
        moved = False
        for name in LOGS:
            path = self._folder / name
            if not path.exists() or path.stat().st_size <= LARGE_LOG:
                continue
            for number in range(KEPT_LOGS - 1, 0, -1):
                older = path.with_name(f"{name}.{number}")
                if older.exists():
                    older.rename(path.with_name(f"{name}.{number + 1}"))
            path.rename(path.with_name(f"{name}.1"))
            moved = True
        return moved

    def _master(self) -> psutil.Process | None:
        try:
            process = psutil.Process(int((self._folder / "nginx.pid").read_text("ascii")))
            command = " ".join(process.cmdline())
        except (OSError, ValueError, psutil.Error):
            return None
        return process if "nginx" in command and str(self._config) in command else None

    def _workers(self) -> dict[int, bool]:
        """Return each worker's pid, and whether it only ends what it has begun."""
        master = self._master()
        found: dict[int, bool] = {}
        try:
            children = master.children() if master is not None else []
        except psutil.Error:
            return found
        for child in children:
            try:
                title = " ".join(child.cmdline())
            except psutil.Error:
                continue  # it has ended in between
            if "worker process" in title:
                found[child.pid] = _LEAVING in title
        return found

    async def _run(self, *arguments: str) -> str:
        """Run nginx to its end and return what it said; without anything of our environment.

        Raises:
            EdgeRefused: it is not there, or fails.
        """
        where = ["-p", str(self._folder), "-e", str(self._folder / "error.log")] if "-v" not in arguments else []
        try:
            code, said = await run_briefly(
                (self._binary, *arguments, *where),
                environment={"PATH": os.environ.get("PATH", os.defpath)},
                timeout_s=TEST_S,
                folder=self._folder if self._folder.is_dir() else None,
            )
        except TimeoutError as error:
            raise EdgeRefused(f"nginx {arguments[0]} did not end within {TEST_S:g} s") from error
        except OSError as error:
            raise EdgeRefused(f"{self._binary} cannot be run: {error.strerror}") from error
        text = said.strip()
        if code != 0:
            raise EdgeRefused(f"nginx refuses its configuration: {_last(text) or f'exit code {code}'}")
        return text


def certificate_mark(*files: str) -> str:
    """Return what changes when one of the files does; nothing where there is none, nginx says what is wrong with it."""
    digest = hashlib.sha256()
    try:
        for file in files:
            digest.update(Path(file).read_bytes())
    except OSError:
        return "unreadable"
    return digest.hexdigest()[:16]


def _last(text: str) -> str:
    """Return the line that says why, without nginx's time and process."""
    lines = [line for line in text.splitlines() if "[emerg]" in line or "[crit]" in line] or text.splitlines()
    return _FORMER.sub("", lines[0]) if lines else ""


def _emergency(log: Path, since: int) -> str | None:
    """Return why nginx could not serve, if it has said so in its log since it was that long."""
    if not log.exists():
        return None
    with log.open("rb") as file:
        file.seek(since)
        lines = [line for line in file.read().decode(errors="replace").splitlines() if "[emerg]" in line]
    return _FORMER.sub("", lines[-1]) if lines else None
