"""The deployer's real and fake process drivers meet the same contract."""

from __future__ import annotations

import asyncio
import os
import signal
import sys
from collections.abc import AsyncIterator
from contextlib import suppress
from pathlib import Path

import pytest

from algodock_deployer.clients.fakes import FakeProcesses
from algodock_deployer.clients.processes import ProcessDriver
from algodock_deployer.clients.supervisor import SupervisorDriver
from algodock_deployer.domain.programs import ProgramSpec


@pytest.fixture(params=["fake", "supervisord"])
async def driver(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[ProcessDriver]:
    if request.param == "fake":
        yield FakeProcesses()
        return
    yield SupervisorDriver(tmp_path / "a", tmp_path / "a" / "programs", tmp_path / "logs" / "supervisord.log")
    with suppress(OSError, ValueError):
        os.kill(int((tmp_path / "a" / "supervisord.pid").read_text()), signal.SIGTERM)


def spec(folder: Path, number: int, code: str = "import time; time.sleep(60)") -> ProgramSpec:
    program = f"ai-contract-{number}-abcdef"
    return ProgramSpec(
        program=program, argv=(sys.executable, "-c", code), folder=folder, script=folder / f"{program}.sh",
        pid_file=folder / f"{program}.pid", stdout=folder / f"{program}.log", stderr=folder / f"{program}_error.log",
    )  # fmt: skip


async def test_a_started_program_runs_until_it_is_stopped(driver: ProcessDriver, tmp_path: Path) -> None:
    await driver.ensure()
    one, two = spec(tmp_path, 1), spec(tmp_path, 2)
    await driver.start(one)
    seen = await driver.look(one.program)
    assert seen is not None
    assert seen.alive
    await driver.start(two)
    await driver.start(one)
    again = await driver.look(one.program)
    assert again is not None
    assert again.pid == seen.pid, "starting another, or the same again, leaves it alone"
    assert set(await driver.look_all()) == {one.program, two.program}
    await driver.stop(one.program)
    assert await driver.look(one.program) is None
    assert set(await driver.look_all()) == {two.program}
    await driver.stop(one.program)


async def test_a_program_that_was_never_started_is_unknown(driver: ProcessDriver) -> None:
    await driver.ensure()
    assert await driver.look("ai-none-1-abcdef") is None
    assert await driver.look_all() == {}


async def test_the_manager_is_started_once(driver: ProcessDriver) -> None:
    await driver.ensure()
    assert await driver.ensure() is False


async def test_supervisord_starts_a_program_that_exits_again_and_gives_up_at_last(tmp_path: Path) -> None:
    driver = SupervisorDriver(tmp_path / "a", tmp_path / "a" / "programs", tmp_path / "supervisord.log")
    await driver.ensure()
    try:
        one = spec(tmp_path, 1, "raise SystemExit(3)")
        await driver.start(one)
        async with asyncio.timeout(40):
            while (seen := await driver.look(one.program)) is None or not seen.gave_up:  # noqa: ASYNC110  # supervisord tells nobody
                await asyncio.sleep(0.2)
        await driver.stop(one.program)
    finally:
        os.kill(int((tmp_path / "a" / "supervisord.pid").read_text()), signal.SIGTERM)
