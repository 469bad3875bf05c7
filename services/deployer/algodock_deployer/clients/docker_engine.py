"""The Docker Engine over its HTTP API: one session, its errors as the deployer's own, and the building of images."""

from __future__ import annotations

import asyncio
import tarfile
import tempfile
from contextlib import asynccontextmanager, suppress
from http import HTTPStatus
from pathlib import Path
from typing import IO, TYPE_CHECKING, Protocol

from algodock_deployer.clients.processes import DriverUnavailable
from algodock_deployer.domain.errors import EngineRefused, StepFailed

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from aiodocker import Docker

    from algodock_deployer.clients.tools import BuildLog

__all__ = ["SOCKET", "DockerImages", "Engine", "ImageBuilder", "NotThere"]

SOCKET = Path("/var/run/docker.sock")
ANSWER_S = 60.0
UNREACHED = 900  # aiodocker's own status for a connection that cannot be made


class NotThere(EngineRefused):
    """The engine has no such container or image."""


class Engine:
    """One engine, reached when it is first needed."""

    def __init__(self, url: str) -> None:
        """``url`` is as ``DOCKER_HOST`` has it: ``unix:///…`` or ``tcp://…``."""
        self.url = url
        self._client: Docker | None = None

    @asynccontextmanager
    async def use(self) -> AsyncIterator[Docker]:
        """Give the client.

        Raises:
            DriverUnavailable: the engine does not answer.
            NotThere: it answers that there is no such container or image.
            EngineRefused: it answers that it cannot, and why.
        """
        import aiohttp
        from aiodocker import DockerError

        try:
            yield self._docker()
        except DockerError as error:
            if error.status == UNREACHED:
                raise DriverUnavailable(f"the Docker Engine does not answer at {self.url}: {error.message}") from error
            said = f"the Docker Engine says: {error.message}"
            raise (NotThere if error.status == HTTPStatus.NOT_FOUND else EngineRefused)(said) from error
        except (aiohttp.ClientError, ConnectionError, TimeoutError) as error:
            why = f"{type(error).__name__}: {error}".rstrip(": ")
            raise DriverUnavailable(f"the Docker Engine does not answer at {self.url}: {why}") from error

    async def close(self) -> None:
        """Close its connections."""
        if self._client is not None:
            await self._client.close()
            self._client = None

    def _docker(self) -> Docker:
        import aiohttp
        from aiodocker import Docker

        if self._client is None:
            self._client = Docker(url=self.url, timeout=aiohttp.ClientTimeout(total=ANSWER_S))
        return self._client


class ImageBuilder(Protocol):
    """Makes images out of repositories' Dockerfiles."""

    async def has(self, tag: str) -> bool:
        """Return whether there is such an image."""
        ...

    async def build(self, folder: Path, tag: str, log: BuildLog) -> None:
        """Build ``folder``'s Dockerfile as ``tag``; what the build says goes into ``log``."""
        ...

    async def remove(self, tag: str) -> None:
        """Remove an image; one that is not there is no error."""
        ...


class DockerImages:
    """``ImageBuilder`` with the engine's own build."""

    def __init__(self, engine: Engine, *, base: str = "", timeout_s: float = 1800) -> None:
        """``base`` is given to Dockerfiles as the build argument ``BASE``; nothing is asked yet."""
        self._engine = engine
        self._base = base
        self._timeout_s = timeout_s

    async def has(self, tag: str) -> bool:
        """Return whether there is such an image."""
        try:
            async with self._engine.use() as docker:
                return bool(await docker.images.inspect(tag))
        except NotThere:
            return False

    async def build(self, folder: Path, tag: str, log: BuildLog) -> None:
        """Build the Dockerfile.

        Raises:
            StepFailed: a step of it failed, with the engine's words, or it took too long.
        """
        with tempfile.TemporaryFile() as context:
            await asyncio.to_thread(_pack, folder, context)
            try:
                async with asyncio.timeout(self._timeout_s):
                    await self._build(context, tag, log)
            except TimeoutError as error:
                raise StepFailed(f"the image was not built within {self._timeout_s:.0f} s") from error

    async def _build(self, context: IO[bytes], tag: str, log: BuildLog) -> None:
        arguments = {"BASE": self._base} if self._base else {}
        try:
            async with self._engine.use() as docker:
                steps = docker.images.build(
                    fileobj=context, encoding="gzip", tag=tag, buildargs=arguments, forcerm=True, stream=True
                )
                async for step in steps:
                    said = str(step.get("stream") or step.get("status") or step.get("error") or "").strip()
                    if said:
                        log.say(said)
                    if "error" in step:
                        raise StepFailed(f"the image cannot be built: {step['error']}")
        except EngineRefused as error:
            raise StepFailed(f"the image cannot be built: {error.detail}") from error

    async def remove(self, tag: str) -> None:
        """Remove an image; one that is not there is no error."""
        with suppress(NotThere):
            async with self._engine.use() as docker:
                await docker.images.delete(tag)


def _pack(folder: Path, target: IO[bytes]) -> None:
    """Write the build's context; what belongs to nobody there carries no names of this machine."""
    with tarfile.open(fileobj=target, mode="w:gz", compresslevel=1) as archive:
        archive.add(folder, arcname=".", filter=_nobodys)
    target.seek(0)


def _nobodys(member: tarfile.TarInfo) -> tarfile.TarInfo:
    member.uid = member.gid = 0
    member.uname = member.gname = ""
    return member
