"""Who runs programs stays away for longer than a deploy waits: what was begun is ended later, and others' go on."""

from __future__ import annotations

import os
import signal
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import replace
from typing import TYPE_CHECKING

import pytest

from algodock_deployer import handlers
from algodock_deployer.clients.docker import DockerDriver
from algodock_deployer.clients.docker_engine import Engine
from algodock_deployer.clients.drivers import ChosenDrivers
from algodock_deployer.clients.processes import DriverUnavailable, Seen
from algodock_deployer.clients.supervisor import SupervisorDriver
from algodock_deployer.domain.folders import Folders
from algodock_deployer.domain.modes import Modes

from .conftest import QUICK, eventually

if TYPE_CHECKING:
    from pathlib import Path

    from .conftest import Deployer, Maker

HANGS = {"main.py": "import time\ntime.sleep(600)\n"}


class Absent(SupervisorDriver):
    """A supervisord that does not answer while ``away`` is set; its programs go on."""

    away = False

    async def ensure(self) -> bool:
        self._reach()
        return await super().ensure()

    async def look(self, program: str) -> Seen | None:
        self._reach()
        return await super().look(program)

    async def look_all(self) -> Mapping[str, Seen]:
        self._reach()
        return await super().look_all()

    async def stop(self, program: str) -> None:
        self._reach()
        await super().stop(program)

    def _reach(self) -> None:
        if self.away:
            raise DriverUnavailable("the algorithms' supervisord does not answer")


@asynccontextmanager
async def absent(make: Maker, root: Path) -> AsyncIterator[tuple[Deployer, Absent]]:
    folders = Folders(root, root / "services")
    driver = Absent(folders.algorithms, folders.algorithms / "programs", folders.logs / "supervisord.log")
    async with make(processes=driver, tuning=replace(QUICK, patience_s=1, start_timeout_s=600)) as deployer:
        yield deployer, driver


async def alone(deployer: Deployer, *releases: object) -> None:
    """Wait until these releases' instances are all that is leased, and all that runs."""

    async def look() -> bool:
        await deployer.drains()
        leased = [one.release_id for one in deployer.registry.leases.values()]
        return leased == list(releases) and len(await deployer.processes.look_all()) == len(releases)

    await eventually(look, 60, "nothing to be left over")


async def test_a_release_that_could_not_be_ended_is_ended_later_and_its_service_can_be_revived(
    make: Maker, root: Path
) -> None:
    async with absent(make, root) as (deployer, driver):
        live = await deployer.live("alone", deployer.program("one"))
        commit = await deployer.push("alone", HANGS)
        await deployer.release("alone", commit, "checking")
        driver.away = True
        failed = await deployer.release("alone", commit, "failed")
        assert failed.reason == "probe: the algorithms' supervisord does not answer"
        assert len(deployer.registry.leases) == 2, "nobody could end it"
        driver.away = False
        await alone(deployer, live.id)
        assert (await deployer.answer("alone"))["version"] == "one"

        before = (await deployer.service("alone")).instances[0]
        await driver.stop(before.program)  # as if it had been lost: what is left over must not keep it from coming back

        async def back() -> bool:
            return any(one.id != before.id for one in (await deployer.service("alone")).instances)

        await eventually(back, 60, "it to be revived")


async def test_a_stop_ends_what_could_not_be_ended(make: Maker, root: Path) -> None:
    async with absent(make, root) as (deployer, driver):
        commit = await deployer.push("halted-later", HANGS)
        await deployer.release("halted-later", commit, "checking")
        driver.away = True
        await deployer.release("halted-later", commit, "failed")
        driver.away = False
        await deployer.command("halted-later", "stop")
        await alone(deployer)
        await deployer.status("halted-later", "stopped")


@asynccontextmanager
async def beside_an_absent_engine(make: Maker, root: Path) -> AsyncIterator[tuple[Deployer, Absent]]:
    folders = Folders(root, root / "services")
    supervisor = Absent(folders.algorithms, folders.algorithms / "programs", folders.logs / "supervisord.log")
    docker = DockerDriver(folders.algorithms / "docker", Engine(f"unix://{root}/none.sock"))
    both = ChosenDrivers({"docker": docker, "supervisor": supervisor}, Modes("supervisor", {"BOXED": "docker"}))
    async with make(processes=both, tuning=replace(QUICK, patience_s=1, start_timeout_s=600)) as deployer:
        deployer.processes = supervisor
        await supervisor.ensure()  # a deploy waits for it less long here than it may need to come up
        yield deployer, supervisor
    await docker.close()


async def test_a_docker_engine_that_is_away_holds_up_nobody_elses_services(make: Maker, root: Path) -> None:
    async with beside_an_absent_engine(make, root) as (deployer, supervisor):
        await deployer.live("supervised", deployer.program("one"))
        live = await deployer.live("supervised", deployer.program("two"))
        await alone(deployer, live.id)
        assert (await deployer.answer("supervised"))["version"] == "two"

        commit = await deployer.push("supervised", HANGS)
        await deployer.release("supervised", commit, "checking")
        supervisor.away = True
        await deployer.release("supervised", commit, "failed")
        supervisor.away = False
        await alone(deployer, live.id)  # although the engine is still away

        await deployer.command("supervised", "stop")
        await alone(deployer)
        await deployer.status("supervised", "stopped")


async def test_beside_a_docker_engine_that_is_away_the_others_are_kept_alive(make: Maker, root: Path) -> None:
    async with beside_an_absent_engine(make, root) as (deployer, _):
        await deployer.live("kept", deployer.program("one"))

        async def noted() -> int:
            return (await deployer.service("kept")).instances[0].pid

        os.kill(await eventually(noted, 60, "its process to be known"), signal.SIGKILL)

        async def counted() -> bool:
            return (await deployer.service("kept")).instances[0].exits == 1

        await eventually(counted, 60, "its exit to be counted")
        assert (await deployer.answer("kept"))["version"] == "one"


async def test_what_an_absent_manager_may_have_is_not_called_gone(make: Maker, root: Path) -> None:
    async with absent(make, root) as (deployer, driver):
        await deployer.live("hidden", deployer.program("one"))

        async def seen() -> bool:
            return (await deployer.service("hidden")).instances[0].seen == "RUNNING"

        await eventually(seen, 60, "it to be seen")
        driver.away = True
        with pytest.raises(DriverUnavailable):
            await handlers.reconcile(deployer.context)
        assert await seen()
        driver.away = False
