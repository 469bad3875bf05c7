"""How git is run: its own configuration, an environment made from nothing, whole process groups ended."""

from __future__ import annotations

import asyncio
import contextlib
import os
import shutil
import signal
import sys
from asyncio.subprocess import DEVNULL, PIPE
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from algodock_gitea_sync.domain.errors import ForgeUnavailable
from algodock_gitea_sync.hook import HOOK_PROGRAM

if TYPE_CHECKING:
    from asyncio.subprocess import Process
    from collections.abc import Mapping

__all__ = ["Git", "GitFailed", "end_group"]

_LOCAL_TIMEOUT_S = 60.0
_STDERR_KEPT = 2000
_PASSED_ON = (
    *("http_proxy", "https_proxy", "no_proxy", "all_proxy", "HTTP_PROXY", "HTTPS_PROXY", "NO_PROXY", "ALL_PROXY"),
    *("SSL_CERT_FILE", "SSL_CERT_DIR", "CURL_CA_BUNDLE", "GIT_SSL_CAINFO"),
)
"""What reaching another forge may need from the platform's own environment."""

_CONFIG = """\
# Written by gitea-sync at its start; changes are lost.
[safe]
	directory = *
[core]
	hooksPath = {hooks}
	symlinks = false
	protectHFS = true
	protectNTFS = true
	fsmonitor = false
	bigFileThreshold = 16m
	askPass = /bin/false
[init]
	defaultBranch = main
	templateDir =
[advice]
	detachedHead = false
[gc]
	autoDetach = false
[maintenance]
	auto = false
[credential]
	helper =
[protocol]
	allow = never
[protocol "http"]
	allow = always
[protocol "https"]
	allow = always
[http]
	receivepack = true
	uploadpack = true
	getanyfile = false
	followRedirects = false
	lowSpeedLimit = 1000
	lowSpeedTime = 60
[fetch]
	fsckObjects = true
	recurseSubmodules = false
	writeCommitGraph = false
[receive]
	fsckObjects = true
	maxInputSize = {max_push_bytes}
	autogc = false
	denyDeleteCurrent = refuse
	denyCurrentBranch = ignore
	hideRefs = refs/
	hideRefs = !refs/heads/
	hideRefs = !refs/tags/
# Blemishes of old histories that hurt nobody; everything else that fsck calls an error is one.
[receive "fsck"]
	badTimezone = ignore
	missingSpaceBeforeDate = ignore
	zeroPaddedFilemode = ignore
[fetch "fsck"]
	badTimezone = ignore
	missingSpaceBeforeDate = ignore
	zeroPaddedFilemode = ignore
"""


class GitFailed(Exception):
    """Git ended with an error; ``stderr`` is what it said, shortened."""

    def __init__(self, command: str, code: int | None, stderr: str) -> None:
        """``code`` is the exit status, or None when the time was over."""
        self.command, self.code, self.stderr = command, code, stderr[-_STDERR_KEPT:].strip()
        ending = "took too long" if code is None else f"ended with {code}"
        super().__init__(f"git {command} {ending}: {self.stderr or 'it said nothing'}")


@dataclass(slots=True)
class Git:
    """The git of this machine, bound to the platform's own configuration in ``home``."""

    home: Path
    max_push_bytes: int
    program: str = "git"
    exec_path: Path = field(default_factory=Path)

    async def prepare(self) -> None:
        """Write configuration and hooks below ``home``, and find git's programs; before anything else.

        Raises:
            ForgeUnavailable: this machine has no git, or one without ``http-backend``.
        """
        program = shutil.which("git")
        if program is None:
            raise ForgeUnavailable("there is no git on this machine's PATH")
        self.program = program
        self.home = self.home.resolve()
        hooks = self.home / "hooks"
        hooks.mkdir(parents=True, exist_ok=True)
        # sys.executable in a shell script: a "#!" line is cut at 127 bytes on some kernels
        start = f"#!/bin/sh\nexec {_quoted(sys.executable)} -I -S {_quoted(HOOK_PROGRAM)}\n"
        _write(hooks / "post-receive", start, 0o755)
        config = _CONFIG.format(hooks=_config_value(hooks), max_push_bytes=self.max_push_bytes)
        _write(self.home / "gitconfig", config, 0o600)
        self.exec_path = Path((await self.run("--exec-path")).decode().strip())
        if not (self.exec_path / "git-http-backend").exists():
            raise ForgeUnavailable(f"this machine's git has no http-backend in {self.exec_path}")

    async def check(self) -> None:
        """Raise when git cannot be run (for ``/ready``)."""
        await self.run("--version")

    def environment(self, more: Mapping[str, str] | None = None, *, outside: bool = False) -> dict[str, str]:
        """Return the whole environment of a git process; with ``outside`` it may talk to http(s) servers."""
        passed = {name: os.environ[name] for name in _PASSED_ON if name in os.environ} if outside else {}
        return {
            "PATH": os.environ.get("PATH", os.defpath),
            "HOME": str(self.home),
            "LC_ALL": "C",
            "GIT_CONFIG_NOSYSTEM": "1",
            "GIT_CONFIG_GLOBAL": str(self.home / "gitconfig"),
            "GIT_ATTR_NOSYSTEM": "1",
            "GIT_TERMINAL_PROMPT": "0",
            "GIT_OPTIONAL_LOCKS": "0",
            "GIT_NO_REPLACE_OBJECTS": "1",
            "GIT_PROTOCOL_FROM_USER": "0",
            "GIT_ALLOW_PROTOCOL": "http:https" if outside else "",
            **passed,
            **(more or {}),
        }

    async def start(self, *command: str, env: Mapping[str, str], stdin: int = PIPE) -> Process:
        """Start a process of git in a group of its own, all three streams piped.

        Raises:
            ForgeUnavailable: it cannot be started.
        """
        try:
            return await asyncio.create_subprocess_exec(
                *command, stdin=stdin, stdout=PIPE, stderr=PIPE, env=dict(env), cwd=self.home, start_new_session=True
            )
        except OSError as error:
            msg = f"git cannot be run: {error}"
            raise ForgeUnavailable(msg) from error

    async def run(
        self,
        *arguments: str,
        timeout_s: float = _LOCAL_TIMEOUT_S,
        outside: bool = False,
        env: Mapping[str, str] | None = None,
    ) -> bytes:
        """Run git to its end and return its output.

        Raises:
            GitFailed: it ended with an error, or not within ``timeout_s`` seconds (then it was ended).
            ForgeUnavailable: it cannot be started.
        """
        command = next((word for word in arguments if not word.startswith("-")), arguments[0])
        process = await self.start(self.program, *arguments, env=self.environment(env, outside=outside), stdin=DEVNULL)
        try:
            async with asyncio.timeout(timeout_s):
                out, err = await process.communicate()
        except TimeoutError:
            raise GitFailed(command, None, "") from None
        finally:
            await end_group(process)
        if process.returncode != 0:
            raise GitFailed(command, process.returncode, err.decode(errors="replace"))
        return out


async def end_group(process: Process) -> None:
    """End ``process`` and everything that it started, at once, and wait for it; nothing happens when it has ended."""
    if process.returncode is None:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        await process.wait()


def _write(path: Path, text: str, mode: int) -> None:
    """Put ``text`` in place in one step: a push may be reading the file."""
    draft = path.with_name(f".{path.name}.{os.getpid()}")
    draft.write_text(text)
    draft.chmod(mode)
    draft.replace(path)


def _quoted(path: object) -> str:
    return "'" + str(path).replace("'", "'\\''") + "'"


def _config_value(path: Path) -> str:
    return '"' + str(path).replace("\\", "\\\\").replace('"', '\\"') + '"'
