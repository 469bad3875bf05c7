"""Serves git over smart HTTP: one ``git http-backend`` a request, as CGI, streaming both ways.

The program: https://git-scm.com/docs/git-http-backend; the protocol: https://git-scm.com/docs/http-protocol.
"""

from __future__ import annotations

import asyncio
import contextlib
import re
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, TypeVar

import structlog

from algodock_gitea_sync.clients.git import end_group
from algodock_gitea_sync.domain.errors import ForgeFailed, PushTooLarge

if TYPE_CHECKING:
    from asyncio import StreamReader, StreamWriter
    from asyncio.subprocess import Process
    from collections.abc import AsyncIterator, Mapping
    from pathlib import Path

    from algodock_gitea_sync.clients.git import Git

__all__ = ["GitAnswer", "GitCall", "HttpBackend"]

log = structlog.get_logger()

Stream = TypeVar("Stream")

_CHUNK = 1 << 16
_STDERR_KEPT = 2000
_LINGER_S = 90.0
_PASSED_HEADERS = frozenset({"content-type", "cache-control", "expires", "pragma"})
_GIT_PROTOCOL = re.compile(r"^version=[0-2](?::[a-z0-9=.:-]{0,200})?$")


@dataclass(frozen=True, slots=True)
class GitCall:
    """One request of the smart HTTP protocol, checked: ``path`` is what follows ``<name>.git/``."""

    full_name: str
    path: str
    service: str
    method: str
    user: str
    content_type: str = ""
    content_encoding: str = ""
    content_length: int | None = None
    git_protocol: str = ""
    hook: Mapping[str, str] = field(default_factory=dict)

    @property
    def writes(self) -> bool:
        """Return whether the call changes the repository."""
        return self.method == "POST" and self.service == "git-receive-pack"


@dataclass(frozen=True, slots=True)
class GitAnswer:
    """What git answered; ``body`` must be read or closed."""

    status: int
    headers: dict[str, str]
    body: AsyncIterator[bytes]


class HttpBackend:
    """Runs ``git http-backend`` over the repositories below ``root``."""

    def __init__(self, git: Git, root: Path, *, max_push_bytes: int, idle_timeout_s: float) -> None:
        """A call whose bytes stand still for ``idle_timeout_s`` seconds is ended."""
        self._git = git
        self._root = root.resolve()
        self._max_bytes = max_push_bytes
        self._idle_s = idle_timeout_s
        self._lingering: set[asyncio.Task[None]] = set()

    async def serve(self, call: GitCall, body: AsyncIterator[bytes]) -> GitAnswer:
        """Hand ``call`` to git and return its answer once the request's body was taken.

        Raises:
            PushTooLarge: by its Content-Length, before anything is read, or while it is counted.
            ForgeFailed: git answered nothing.
            ForgeUnavailable: git cannot be started.
        """
        if (call.content_length or 0) > self._max_bytes:
            raise self._too_large()
        process = await self._git.start(str(self._git.exec_path / "git-http-backend"), env=self._environment(call))
        stderr = asyncio.create_task(_kept(process.stderr))
        try:
            await self._feed(process, body)
            status, headers = await self._head(process, stderr)
        except BaseException:
            await end_group(process)
            stderr.cancel()
            raise
        return GitAnswer(status, headers, self._body(process, stderr, call))

    async def close(self) -> None:
        """End what still runs for pushers that went away."""
        for task in self._lingering:
            task.cancel()
        await asyncio.gather(*self._lingering, return_exceptions=True)

    def _environment(self, call: GitCall) -> dict[str, str]:
        cgi = {
            "GIT_PROJECT_ROOT": str(self._root),
            "GIT_HTTP_EXPORT_ALL": "1",
            "GATEWAY_INTERFACE": "CGI/1.1",
            "REQUEST_METHOD": call.method,
            "PATH_INFO": f"/{call.full_name}.git/{call.path}",
            "QUERY_STRING": f"service={call.service}" if call.method == "GET" else "",
            "CONTENT_TYPE": call.content_type,
            "REMOTE_USER": call.user,
            "REMOTE_ADDR": "algodock",
        }
        if call.content_encoding:
            cgi["HTTP_CONTENT_ENCODING"] = call.content_encoding
        if call.content_length is not None:
            cgi["CONTENT_LENGTH"] = str(call.content_length)
        if _GIT_PROTOCOL.fullmatch(call.git_protocol):
            cgi["GIT_PROTOCOL"] = call.git_protocol
        return self._git.environment({**cgi, **(call.hook if call.writes else {})})

    async def _feed(self, process: Process, body: AsyncIterator[bytes]) -> None:
        stdin: StreamWriter = _piped(process.stdin)
        taken = 0
        async for chunk in _patient(body, self._idle_s):
            taken += len(chunk)
            if taken > self._max_bytes:
                raise self._too_large()
            if not chunk or stdin.is_closing():
                continue  # git has said what it has to say; the client reads that once it has sent everything
            with contextlib.suppress(BrokenPipeError, ConnectionResetError):
                stdin.write(chunk)
                async with asyncio.timeout(self._idle_s):
                    await stdin.drain()
        stdin.close()

    async def _head(self, process: Process, stderr: asyncio.Task[str]) -> tuple[int, dict[str, str]]:
        stdout: StreamReader = _piped(process.stdout)
        try:
            async with asyncio.timeout(self._idle_s):
                raw = await stdout.readuntil(b"\r\n\r\n")
        except (asyncio.IncompleteReadError, asyncio.LimitOverrunError, TimeoutError) as error:
            await end_group(process)
            msg = f"git answered nothing: {await stderr or type(error).__name__}"
            raise ForgeFailed(msg) from error
        status, headers = 200, {}
        for line in raw.decode("latin-1").split("\r\n"):
            name, _, value = line.partition(":")
            if name.lower() == "status":
                status = int(value.split()[0])
            elif name.lower() in _PASSED_HEADERS:
                headers[name.lower()] = value.strip()
        return status, headers

    async def _body(self, process: Process, stderr: asyncio.Task[str], call: GitCall) -> AsyncIterator[bytes]:
        finished = False
        try:
            async for chunk in self._output(process):
                yield chunk
            finished = True
            async with asyncio.timeout(self._idle_s):
                code = await process.wait()
            if code != 0:
                log.warning("git_ended", repository=call.full_name, service=call.service, code=code, said=await stderr)
        finally:
            if finished or not call.writes:
                await end_group(process)
                stderr.cancel()
            else:
                # The pusher went away after the push was taken: let its refs and its hook come to their end.
                task = asyncio.create_task(self._linger(process, stderr), name="git-push-lingers")
                self._lingering.add(task)
                task.add_done_callback(self._lingering.discard)

    async def _linger(self, process: Process, stderr: asyncio.Task[str]) -> None:
        try:
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(_LINGER_S):
                    async for _ in self._output(process):
                        pass
                    await process.wait()
        finally:
            await end_group(process)
            stderr.cancel()

    async def _output(self, process: Process) -> AsyncIterator[bytes]:
        stdout: StreamReader = _piped(process.stdout)
        while True:
            async with asyncio.timeout(self._idle_s):
                chunk = await stdout.read(_CHUNK)
            if not chunk:
                return
            yield chunk

    def _too_large(self) -> PushTooLarge:
        return PushTooLarge(f"a push may have at most {self._max_bytes} bytes")


async def _patient(body: AsyncIterator[bytes], idle_s: float) -> AsyncIterator[bytes]:
    while True:
        async with asyncio.timeout(idle_s):
            try:
                chunk = await anext(body)
            except StopAsyncIteration:
                return
        yield chunk


async def _kept(stream: StreamReader | None) -> str:
    kept = b""
    while stream is not None and (chunk := await stream.read(_CHUNK)):
        kept = (kept + chunk)[-_STDERR_KEPT:]
    return kept.decode(errors="replace").strip()


def _piped(stream: Stream | None) -> Stream:
    if stream is None:  # pragma: no cover  # Git.start pipes all three
        msg = "git runs without pipes"
        raise ForgeFailed(msg)
    return stream
