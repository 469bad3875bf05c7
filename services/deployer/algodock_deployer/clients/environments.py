"""Environments of releases: made by uv, shared by every release whose requirements compile to the same."""

from __future__ import annotations

import asyncio
import os
import platform
import shutil
import sys
import sysconfig
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

from algodock_common.identifiers import uuid7
from algodock_deployer.clients.tools import Tool, ToolRunner, build_environment, run_tool
from algodock_deployer.domain.errors import NotSupported, StepFailed
from algodock_deployer.domain.requirements import compile_key, environment_key

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from algodock_common.storage import ObjectStore
    from algodock_deployer.clients.sandbox import Sandbox
    from algodock_deployer.clients.sdk import SdkPackage
    from algodock_deployer.clients.tools import BuildLog

__all__ = ["Environment", "EnvironmentBuilder", "Interpreter", "UvEnvironments", "platform_tag"]


@dataclass(frozen=True)
class Interpreter:
    """A Python that environments are made from."""

    path: Path
    version: str


@dataclass(frozen=True)
class Environment:
    """A ready environment; ``lock_key`` is where its compiled requirements lie in the object store."""

    key: str
    folder: Path
    lock_key: str = ""
    reused: bool = False

    @property
    def python(self) -> Path:
        """Return its interpreter."""
        return self.folder / "bin" / "python"


class EnvironmentBuilder(Protocol):
    """Makes environments, each once."""

    async def prepare(
        self, requirements: Sequence[str], python: str | None, *, sdk: bool, log: BuildLog
    ) -> Environment:
        """Return the environment for ``requirements``, made if it is not there yet.

        Raises:
            StepFailed: uv could not resolve or install; its own message is in the detail.
            NotSupported: there is no such Python here, and none may be fetched.
        """
        ...


AS_PLATFORM = ".written-by-the-platform"
"""Marks a folder of uv's that was written to as the platform's user, because the builder's could not be had."""


def _own_interpreter() -> Path:
    """Return the Python that the platform's own environment was made from."""
    return Path(getattr(sys, "_base_executable", "") or sys.executable)


def platform_tag() -> str:
    """Return what compiled packages depend on besides Python's version."""
    return "-".join(part for part in (sysconfig.get_platform(), *platform.libc_ver()) if part)


class UvEnvironments:
    """``EnvironmentBuilder`` with uv; environments and uv's cache lie on one file system, so files are linked."""

    def __init__(  # noqa: PLR0913  # what a build stands on
        self,
        root: Path,
        *,
        uv: str,
        store: ObjectStore,
        sandbox: Sandbox,
        sdk: SdkPackage,
        source: Mapping[str, str] | None = None,
        timeout_s: float = 900,
        min_free_bytes: int = 512 * 2**20,
        wheels: Path | None = None,
        offline: bool = False,
        run: ToolRunner = run_tool,
    ) -> None:
        """Keep everything below ``root``; ``source`` is the environment that the allow-list is applied to.

        ``wheels`` is a folder of packages that are used beside the index; ``offline``, instead of it: then nothing is
        asked for over the network, by npm neither.
        """
        self.root = root
        self.cache = root / "cache"
        self.home = root / "home"
        self._uv, self._store, self._sandbox, self._sdk = uv, store, sandbox, sdk
        self._timeout_s, self._min_free, self._run = timeout_s, min_free_bytes, run
        self.variables = build_environment(os.environ if source is None else source, home=self.home, cache=self.cache)
        self.variables |= {"UV_PYTHON_INSTALL_DIR": str(root / "pythons"), "UV_PYTHON_PREFERENCE": "system"}
        # What npm has in its cache is not asked for again: its lock file says what it must be.
        self.variables |= (
            {"UV_OFFLINE": "1", "NPM_CONFIG_OFFLINE": "true"} if offline else {"NPM_CONFIG_PREFER_OFFLINE": "true"}
        )
        self._wheels, self._offline = wheels, offline
        self._locks: dict[str, asyncio.Lock] = {}
        self._interpreters: dict[str, Interpreter] = {}

    async def prepare(
        self, requirements: Sequence[str], python: str | None, *, sdk: bool, log: BuildLog
    ) -> Environment:
        """Return the environment for ``requirements``; see ``EnvironmentBuilder``."""
        interpreter = await self._interpreter(python, log)
        wanted = [*requirements, *(self._sdk.requires if sdk else ())]
        lock_key, compiled = await self._compiled(wanted, interpreter, log)
        key = environment_key(compiled, interpreter.version, platform_tag(), self._sdk.version if sdk else "")
        folder = self.root / key
        async with self._lock(key):
            if (folder / "bin" / "python").exists():
                os.utime(folder)
                return Environment(key, folder, lock_key, reused=True)
            self.check_disk()
            await self._install(folder, compiled, interpreter, sdk=sdk, log=log)
        return Environment(key, folder, lock_key)

    def check_disk(self) -> None:
        """Refuse to build on a disk that is nearly full.

        Raises:
            StepFailed: with how much is left.
        """
        self.root.mkdir(parents=True, exist_ok=True)
        free = shutil.disk_usage(self.root).free
        if free < self._min_free:
            msg = f"only {free // 2**20} MiB are free below {self.root}; a build wants {self._min_free // 2**20}"
            raise StepFailed(msg)

    def sandbox_note(self) -> str:
        """Return why Python programs run as the platform's own user here, or an empty string."""
        self.root.mkdir(parents=True, exist_ok=True)
        return self._sandbox.obstacle(self.root, _own_interpreter())

    def builder_uid(self, *paths: Path) -> int | None:
        """Return the uid that builds run as, its folders made its own; None where it cannot be had."""
        for folder in (self.cache, self.home):
            folder.mkdir(parents=True, exist_ok=True)
        uid = self._sandbox.uid(0, self.root, *paths)
        for folder in (self.cache, self.home):
            ours = folder / AS_PLATFORM
            if uid is None:
                ours.touch()
            elif ours.exists():  # it could not be had before, and could not read now what was written then
                self._sandbox.give(folder, uid)
                ours.unlink()
        if uid is not None:
            for folder in (self.root, self.cache, self.home):
                os.chown(folder, uid, uid)
        return uid

    def _lock(self, key: str) -> asyncio.Lock:
        return self._locks.setdefault(key, asyncio.Lock())

    async def _interpreter(self, wanted: str | None, log: BuildLog) -> Interpreter:
        own = platform.python_version()
        if wanted is None or own == wanted or own.startswith(f"{wanted}."):
            return Interpreter(_own_interpreter(), own)
        if wanted not in self._interpreters:
            async with self._lock(f"python-{wanted}"):
                self._interpreters[wanted] = await self._found(wanted, log)
        return self._interpreters[wanted]

    async def _found(self, wanted: str, log: BuildLog) -> Interpreter:
        find, uid = ["python", "find", "--no-project", wanted], self.builder_uid(Path(self._uv))
        try:
            said = await self._uv_tool("uv python find", find, log, uid)
        except StepFailed:
            try:
                await self._uv_tool("uv python install", ["python", "install", "--no-bin", wanted], log, uid)
                said = await self._uv_tool("uv python find", find, log, uid)
            except StepFailed as error:
                msg = f"Python {wanted} is neither on this machine nor could it be fetched: {error.detail}"
                raise NotSupported(msg) from error
        path = Path(said.strip().splitlines()[-1])
        question = "import platform; print(platform.python_version())"
        # Builds may write where interpreters are fetched to: as the platform none of them is run.
        tool = Tool("python", [str(path), "-c", question], self.variables, self.root, 30, self.builder_uid(path))
        answer = await self._run(tool, log)
        return Interpreter(path, answer.strip().splitlines()[-1])

    async def _compiled(self, wanted: Sequence[str], interpreter: Interpreter, log: BuildLog) -> tuple[str, str]:
        """Return the object store's key and the text of the compiled requirements, compiled once and kept."""
        if not wanted:
            return "", ""
        key = compile_key([*wanted, *self._listed()], interpreter.version, platform_tag())
        object_key, kept = f"locks/{key}.txt", self.root / "locks" / f"{key}.txt"
        async with self._lock(key):
            if not kept.exists():
                kept.parent.mkdir(parents=True, exist_ok=True)
                if await self._store.stat(object_key) is not None:
                    content = await self._store.get(object_key)
                else:
                    content = await self._compile(wanted, interpreter, log)
                    await self._store.put(object_key, content, "text/plain; charset=utf-8")
                partial = kept.with_suffix(".partial")
                partial.write_bytes(content)
                partial.rename(kept)
        return object_key, kept.read_text()

    async def _compile(self, wanted: Sequence[str], interpreter: Interpreter, log: BuildLog) -> bytes:
        self.check_disk()
        uid = self.builder_uid(interpreter.path, Path(self._uv))
        work = self._work_folder("compile", uid)
        try:
            (work / "requirements.txt").write_text("\n".join(wanted) + "\n")
            arguments = ["pip", "compile", "--python", str(interpreter.path), "--no-header", "--no-annotate",
                         *self._packages(uid), "--output-file", "compiled.txt", "requirements.txt"]  # fmt: skip
            await self._uv_tool("uv pip compile", arguments, log, uid, folder=work)
            return (work / "compiled.txt").read_bytes()
        finally:
            await asyncio.to_thread(shutil.rmtree, work, ignore_errors=True)

    async def _install(
        self, folder: Path, compiled: str, interpreter: Interpreter, *, sdk: bool, log: BuildLog
    ) -> None:
        """Make the environment beside its place and move it there: it is whole, or it is not there."""
        uid = self.builder_uid(interpreter.path, Path(self._uv))
        work = self._work_folder(folder.name, uid)
        made = work / "environment"
        try:
            arguments = ["venv", "--quiet", "--relocatable", "--python", str(interpreter.path), str(made)]
            await self._uv_tool("uv venv", arguments, log, uid, folder=work)
            if sdk:
                (site_packages,) = made.glob("lib/python*/site-packages")
                await asyncio.to_thread(self._sdk.copy_into, site_packages)
            if compiled:
                (work / "compiled.txt").write_text(compiled)
                arguments = ["pip", "install", "--python", str(made / "bin" / "python"), "--no-deps",
                             *self._packages(uid), "--compile-bytecode", "--requirements", "compiled.txt"]  # fmt: skip
                await self._uv_tool("uv pip install", arguments, log, uid, folder=work)
            await asyncio.to_thread(made.rename, folder)
        finally:
            await asyncio.to_thread(shutil.rmtree, work, ignore_errors=True)

    def _packages(self, uid: int | None) -> list[str]:
        """Return where uv finds packages, besides what its own variables say.

        Raises:
            StepFailed: the folder of wheels is not there, or closed to who builds.
        """
        found = ["--no-index"] if self._offline else []
        if self._wheels is None:
            return found
        closed = "" if self._wheels.is_dir() else f"{self._wheels} is no folder"
        if not closed and uid is not None:
            closed = self._sandbox.obstacle(self._wheels)
        if closed:
            raise StepFailed(f"packages come from DEPLOYER_WHEELS={self._wheels}, and {closed}")
        return ["--find-links", str(self._wheels), *found]

    def _listed(self) -> list[str]:
        """Return what the folder of wheels holds where nothing else counts: other versions compile to other locks."""
        if not self._offline or self._wheels is None or not self._wheels.is_dir():
            return []
        return sorted(f"wheels/{path.name}" for path in self._wheels.iterdir())

    def _work_folder(self, name: str, uid: int | None) -> Path:
        work = self.root / f".{name}.{uuid7().hex[-12:]}"
        work.mkdir(parents=True)
        if uid is not None:
            os.chown(work, uid, uid)
        return work

    async def _uv_tool(
        self, name: str, arguments: Sequence[str], log: BuildLog, uid: int | None, *, folder: Path | None = None
    ) -> str:
        self.root.mkdir(parents=True, exist_ok=True)
        tool = Tool(name, [self._uv, *arguments], self.variables, folder or self.root, self._timeout_s, uid)
        return await self._run(tool, log)
