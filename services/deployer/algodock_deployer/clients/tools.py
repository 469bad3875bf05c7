"""Runs the tools of a build (uv, npm, the manifest's command): own environment and process group, output to a file.

What they start carries the build's log in its environment, so that also what leaves the group is found and ended.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

from algodock_common.scheduling import yield_to_others
from algodock_deployer.clients.carriers import BUILD, end_carriers
from algodock_deployer.clients.files import size_of
from algodock_deployer.domain.errors import StepFailed
from algodock_deployer.domain.programs import HANDED_OVER, PATH, handed_over

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

__all__ = ["PATH", "BuildLog", "Tool", "ToolRunner", "build_environment", "end_builds", "run_tool"]

TAIL_BYTES = 8 * 1024
GRACE_S = 3.0
PROCESSES = 2048  # of the builder's user, or of a service's

# What a build needs to reach its registries, and nothing else of the platform's environment.
_ALLOWED = frozenset({
    "LANG", "LC_ALL", "TZ",
    "SSL_CERT_FILE", "SSL_CERT_DIR", "REQUESTS_CA_BUNDLE", "CURL_CA_BUNDLE", "NODE_EXTRA_CA_CERTS", "GIT_SSL_CAINFO",
    "HTTP_PROXY", "HTTPS_PROXY", "NO_PROXY", "ALL_PROXY", "http_proxy", "https_proxy", "no_proxy", "all_proxy",
    "PIP_INDEX_URL", "PIP_EXTRA_INDEX_URL", "PIP_FIND_LINKS", "PIP_TRUSTED_HOST", "PIP_CERT", "PIP_NO_INDEX",
    "PIP_DEFAULT_TIMEOUT", "PIP_CONFIG_FILE",
    "HF_ENDPOINT",
})  # fmt: skip
_ALLOWED_PREFIXES = ("UV_", "NPM_CONFIG_", "npm_config_")
# uv's own notes to the processes below it, and what would make it work on another environment than the release's.
_OURS = frozenset({"UV_CACHE_DIR", "UV_PROJECT", "UV_PROJECT_ENVIRONMENT", "UV_RUN_RECURSION_DEPTH", "UV_PYTHON",
                   "UV_ENV_FILE", "UV_CONSTRAINT", "UV_OVERRIDE", "UV_BUILD_CONSTRAINT", "UV_WORKING_DIR",
                   "UV_FROZEN", "UV_LOCKED", "UV_NO_SYNC", "UV_PUBLISH_TOKEN", "UV_PUBLISH_PASSWORD",
                   "UV_PUBLISH_USERNAME"})  # fmt: skip


def build_environment(source: Mapping[str, str], *, home: Path, cache: Path) -> dict[str, str]:
    """Return the environment of a build: what the allow-list lets through of ``source``, and folders of its own.

    Configuration files of uv, pip and npm in the platform's own home are named, because ``HOME`` is another one.
    """
    environment = {
        name: value
        for name, value in source.items()
        if name not in _OURS and (name in _ALLOWED or name.startswith(_ALLOWED_PREFIXES))
    }
    own_home = Path(source.get("HOME", "/nonexistent"))
    config = Path(source.get("XDG_CONFIG_HOME") or own_home / ".config")
    for name, path in (
        ("UV_CONFIG_FILE", config / "uv" / "uv.toml"),
        ("PIP_CONFIG_FILE", config / "pip" / "pip.conf"),
        ("NPM_CONFIG_USERCONFIG", own_home / ".npmrc"),
    ):
        if name not in environment and path.is_file():
            environment[name] = str(path)
    return environment | {
        "PATH": PATH,
        "HOME": str(home),
        "XDG_CACHE_HOME": str(cache),
        "UV_CACHE_DIR": str(cache / "uv"),
        "NPM_CONFIG_CACHE": str(cache / "npm"),
        "UV_NO_PROGRESS": "1",
        "NO_COLOR": "1",
    }


class BuildLog:
    """A release's build output: one file that grows while the build runs."""

    def __init__(self, path: Path) -> None:
        """Append to ``path``; its folder is made."""
        self.path = path
        path.parent.mkdir(parents=True, exist_ok=True)

    def say(self, line: str) -> None:
        """Add a line of our own."""
        with self.path.open("a", encoding="utf-8") as file:
            file.write(f"{line}\n")

    def size(self) -> int:
        """Return how many bytes it has."""
        return size_of(self.path)

    def since(self, offset: int, limit: int = TAIL_BYTES) -> str:
        """Return the last ``limit`` bytes that were written after ``offset``."""
        if not self.path.exists():
            return ""
        with self.path.open("rb") as file:
            file.seek(max(offset, self.size() - limit))
            return file.read().decode(errors="replace")


@dataclass(frozen=True)
class Tool:
    """One command of a build. ``timeout_s`` ends it with all its children; ``uid`` runs it as somebody else."""

    name: str
    argv: Sequence[str]
    environment: Mapping[str, str]
    folder: Path
    timeout_s: float
    uid: int | None = None


class ToolRunner(Protocol):
    """Runs one tool, as ``run_tool`` does; tests hand in another."""

    async def __call__(self, tool: Tool, log: BuildLog) -> str:
        """Run it and return what it wrote."""
        ...


async def run_tool(tool: Tool, log: BuildLog) -> str:
    """Run ``tool`` to its end and return the last of what it wrote.

    Raises:
        StepFailed: it ended with an error, or did not end in time; the detail carries its own last words.
    """
    start = log.size()
    carried = {BUILD: str(log.path)}
    argv, environment = list(tool.argv), {**tool.environment, **carried}
    if tool.uid is not None:
        handed, argv = handed_over(environment, argv, tool.uid, PROCESSES)
        environment = {"PATH": PATH, HANDED_OVER: handed, **carried}
    with log.path.open("ab") as output:
        try:
            process = await asyncio.create_subprocess_exec(
                *argv,
                cwd=tool.folder,
                env=environment,
                stdin=asyncio.subprocess.DEVNULL,
                stdout=output,
                stderr=output,
                start_new_session=True,
            )
        except OSError as error:
            msg = f"{tool.name} cannot be started: {type(error).__name__}: {error}"
            raise StepFailed(msg) from error
    yield_to_others(process.pid)
    try:
        async with asyncio.timeout(tool.timeout_s):
            code = await process.wait()
    except TimeoutError as error:
        msg = f"{tool.name} did not end within {tool.timeout_s:.0f} s"
        raise StepFailed(msg) from error
    finally:
        # The leader may have left children behind, and a cancelled build must not go on.
        await _end_group(process)
        await asyncio.to_thread(end_carriers, BUILD, str(log.path))
    said = log.since(start)
    if code != 0:
        msg = _reason(tool.name, code, said)
        raise StepFailed(msg)
    return said


def end_builds(logs: Path) -> int:
    """End the builds that write to a log below ``logs``, whoever began them; return how many processes that were."""
    return end_carriers(BUILD, str(logs), below=True)


def _reason(name: str, code: int, said: str) -> str:
    lines = [line.strip() for line in said.splitlines() if line.strip()]
    last = "\n".join(lines[-12:])
    ended = f"signal {signal.Signals(-code).name}" if code < 0 else f"exit code {code}"
    return f"{name} failed ({ended}): {last}" if last else f"{name} failed ({ended})"


async def _end_group(process: asyncio.subprocess.Process) -> None:
    """End the leader kindly, then whatever it left behind: a child may have chosen to hear no SIGTERM."""
    if process.returncode is None:
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.killpg(process.pid, signal.SIGTERM)
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(GRACE_S):
                await process.wait()
    with contextlib.suppress(ProcessLookupError, PermissionError):
        os.killpg(process.pid, signal.SIGKILL)
    await process.wait()
