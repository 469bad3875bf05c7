"""``ProcessDriver`` with the Docker Engine: a container a program, its port published on the loopback address."""

from __future__ import annotations

import shlex
from contextlib import suppress
from dataclasses import replace
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

import structlog

from algodock_deployer.clients.container_logs import ContainerLogs
from algodock_deployer.clients.docker_engine import NotThere
from algodock_deployer.clients.files import write_whole
from algodock_deployer.clients.processes import DriverUnavailable, Seen
from algodock_deployer.domain.containers import HOME, PROGRAM, container_config
from algodock_deployer.domain.errors import EngineRefused, NotSupported

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from aiodocker.containers import DockerContainer

    from algodock_deployer.clients.container_heartbeats import ContainerHeartbeats
    from algodock_deployer.clients.docker_engine import Engine
    from algodock_deployer.domain.programs import ProgramSpec

__all__ = ["DockerDriver"]

log = structlog.get_logger()

SHORT_LIFE_S = 1.0
RETRIES = 3
STOP_WAIT_S = 10
LOGS_WAIT_S = 2.0
RESTS = frozenset({"EXITED", "STOPPED", "FATAL"})
"""A container that the engine does not start again by itself."""


class DockerDriver:
    """Containers of this data folder, known by a label; ``<folder>`` holds how far their output was copied.

    The engine starts again what ends, also while the deployer is away; their output is copied into the
    log files by the deployer, which goes on where the last one was.
    """

    def __init__(self, folder: Path, engine: Engine, heartbeats: ContainerHeartbeats | None = None) -> None:
        """Nothing is asked before it is needed. Without ``heartbeats`` no program is told where to beat to."""
        self._folder = folder.absolute()
        self._engine = engine
        self._heartbeats = heartbeats
        self._logs = ContainerLogs(self._folder)

    @property
    def holds(self) -> bool:
        """Return whether containers were started for this folder and not ended."""
        return any(self._folder.glob("*.json"))

    def may_have(self, program: str) -> bool:
        """Return whether a container was begun under this name and not ended."""
        return (self._folder / f"{program}.json").exists()

    async def ensure(self) -> bool:
        """See that the engine answers, that every container's output is copied and that its heartbeats are taken."""
        async with self._engine.use() as docker:
            for container in await docker.containers.list(all=True, filters=self._mine()):
                self._logs.follow(container, container["Labels"][PROGRAM])
        self._logs.save()
        await self._take_heartbeats()
        return False

    async def start(self, spec: ProgramSpec) -> None:
        """Create the program's container and start it; one that runs is left alone.

        Raises:
            EngineRefused: there is no such image or command, or the port is taken.
        """
        if not spec.image:
            raise NotSupported("deployment.mode docker needs a Dockerfile, or DEPLOYER_DOCKER_IMAGE to run it in")
        seen = await self.look(spec.program)
        if seen is not None and seen.state not in RESTS:
            return
        await self._remove(spec.program)
        script = f"#!/bin/sh\n# Written by AlgoDock.\nexec docker start --attach {shlex.quote(spec.program)}\n"
        write_whole(spec.script, script, 0o700)
        write_whole(self._folder / "engine", self._engine.url, 0o600)  # for whoever ends what we started
        self._logs.begin(spec)
        url = await self._take_heartbeats()
        if url and "ALGODOCK_TOKEN" in spec.environment:
            spec = replace(spec, environment={**spec.environment, "ALGODOCK_HEARTBEAT_URL": url})
        try:
            async with self._engine.use() as docker:
                config = container_config(spec, str(self._folder))
                container = await docker.containers.create(config, name=spec.program)
                await container.start()
                self._logs.follow(container, spec.program)
        except (EngineRefused, DriverUnavailable):
            await self._remove(spec.program)
            await self._take_heartbeats()
            raise

    async def look(self, program: str) -> Seen | None:
        """Return how the program stands this moment; one that ends again and again is given up."""
        try:
            async with self._engine.use() as docker:
                return await self._seen(await docker.containers.get(program))
        except NotThere:
            return None

    async def look_all(self) -> Mapping[str, Seen]:
        """Return all programs of this folder."""
        async with self._engine.use() as docker:
            names = [one["Labels"][PROGRAM] for one in await docker.containers.list(all=True, filters=self._mine())]
        found = [await self.look(name) for name in names]
        return {seen.program: seen for seen in found if seen is not None}

    async def pause(self, program: str) -> None:
        """End the container and keep it, so that it can be started again."""
        with suppress(NotThere):
            async with self._engine.use() as docker:
                container = await docker.containers.get(program)
                if await self._seen(container) is not None:
                    self._note(program, "STOPPED")
                    await container.stop(t=STOP_WAIT_S)

    async def resume(self, program: str) -> None:
        """Start a paused container again."""
        with suppress(NotThere):
            async with self._engine.use() as docker:
                container = await docker.containers.get(program)
                seen = await self._seen(container)
                if seen is not None and seen.state in RESTS:
                    self._note(program, "")
                    await container.start()
                    self._logs.follow(container, program)

    async def stop(self, program: str) -> None:
        """End the container (SIGTERM, then SIGKILL after 10 s, to all in it) and forget it."""
        with suppress(NotThere):
            async with self._engine.use() as docker:
                container = await docker.containers.get(program)
                if container["Config"]["Labels"].get(HOME) == str(self._folder):
                    self._note(program, "STOPPED")  # or a look in between would start it again
                    await container.stop(t=STOP_WAIT_S)
                    await self._logs.finish(container, program, LOGS_WAIT_S)
        await self._remove(program)
        await self._take_heartbeats()

    async def close(self) -> None:
        """Let go of the containers, which go on."""
        if self._heartbeats is not None:
            await self._heartbeats.close()
        await self._logs.close()
        await self._engine.close()

    async def _take_heartbeats(self) -> str:
        """Take containers' heartbeats while there are some; return where to, an empty string where that cannot be."""
        if self._heartbeats is None:
            return ""
        if self.holds:
            return await self._heartbeats.open()
        await self._heartbeats.close()
        return ""

    def _mine(self) -> dict[str, list[str]]:
        return {"label": [f"{HOME}={self._folder}"]}

    async def _remove(self, program: str) -> None:
        with suppress(NotThere):
            async with self._engine.use() as docker:
                container = await docker.containers.get(program)
                if container["Config"]["Labels"].get(HOME) == str(self._folder):
                    await container.delete(force=True, v=True)
        self._logs.forget(program)
        self._note(program, "")

    def _note(self, program: str, state: str) -> None:
        """Note why a container rests, which the engine does not tell."""
        path = self._folder / f"{program}.rests"
        if state:
            write_whole(path, state, 0o600)
        else:
            path.unlink(missing_ok=True)

    def _rests(self, program: str) -> str:
        """Return why a container that has ended is not to be started again; an empty string when it is."""
        path = self._folder / f"{program}.rests"
        return path.read_text(encoding="ascii") if path.exists() else ""

    async def _again(self, container: DockerContainer, program: str) -> str:
        """Start what the engine should have: one that was killed stops its containers, and comes back without them.

        Return how it stands then.
        """
        try:
            async with self._engine.use():
                await container.start()
        except EngineRefused as error:
            self._note(program, "FATAL")
            log.warning("container_not_started_again", program=program, error=str(error))
            return "FATAL"
        self._logs.follow(container, program)
        log.info("container_started_again", program=program)
        return "BACKOFF"

    async def _seen(self, container: DockerContainer) -> Seen | None:
        program = container["Config"]["Labels"].get(PROGRAM)
        if program is None or container["Config"]["Labels"].get(HOME) != str(self._folder):
            return None  # somebody else's, of the same name
        state: dict[str, Any] = container["State"]
        code, detail = int(state["ExitCode"]), str(state.get("Error") or "")
        if state["Running"] and not state["Restarting"]:
            young = (datetime.now(UTC) - _time(state["StartedAt"])).total_seconds() < SHORT_LIFE_S
            return Seen(program, "STARTING" if young else "RUNNING", int(state["Pid"]), None, detail)
        if state["Status"] == "created":
            return Seen(program, "EXITED", 0, code, detail)
        if state.get("OOMKilled"):
            detail = "it used more memory than it may"
        lived = (_time(state["FinishedAt"]) - _time(state["StartedAt"])).total_seconds()
        restarting = bool(state["Restarting"])
        if restarting and container["RestartCount"] > RETRIES and lived < SHORT_LIFE_S:
            self._note(program, "FATAL")
            await container.stop(t=0)
            log.info("program_given_up", program=program, code=code)
            restarting = False
        await self._logs.finish(container, program, LOGS_WAIT_S)
        state_word = "BACKOFF" if restarting else self._rests(program) or await self._again(container, program)
        return Seen(program, state_word, 0, code, detail)


def _time(text: str) -> datetime:
    """Read the engine's times, which have nanoseconds."""
    return datetime.fromisoformat(text)
