"""What every process driver promises, asked of each: supervisord, plain processes, both chosen between, the fake."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import sys
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import TypeVar

import psutil
import pytest

from algodock_deployer.clients.drivers import ChosenDrivers
from algodock_deployer.clients.fakes import FakeProcesses
from algodock_deployer.clients.local import LocalDriver
from algodock_deployer.clients.processes import DriverUnavailable, ProcessDriver, Seen
from algodock_deployer.clients.supervisor import SupervisorDriver
from algodock_deployer.domain.modes import Modes
from algodock_deployer.domain.programs import ProgramSpec

Found = TypeVar("Found")
Maker = Callable[[], ProcessDriver]

SLEEPS = "import time; time.sleep(120)"
STUBBORN = """
import os, signal, subprocess, sys, time
signal.signal(signal.SIGTERM, signal.SIG_IGN)
child = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(120)"])
print(child.pid, flush=True)
time.sleep(120)
"""


def _supervisor(folder: Path) -> SupervisorDriver:
    return SupervisorDriver(folder / "a", folder / "a" / "programs", folder / "logs" / "supervisord.log")


def _made(kind: str, folder: Path) -> ProcessDriver:
    if kind == "supervisor":
        return _supervisor(folder)
    if kind == "local":
        return LocalDriver(folder / "local")
    drivers: dict[str, ProcessDriver] = {"supervisor": _supervisor(folder), "local": LocalDriver(folder / "local")}
    return ChosenDrivers(drivers, Modes("local", {"OTHER": "supervisor"}))


@pytest.fixture(params=["supervisor", "local", "chosen"])
async def make(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[Maker]:
    """Make drivers over one folder, one after another as deployers are; what they leave is ended."""
    made: list[ProcessDriver] = []

    def maker() -> ProcessDriver:
        made.append(_made(request.param, tmp_path))
        return made[-1]

    yield maker
    for driver in made:
        await driver.close()
    if made:
        last = maker()
        with suppress(DriverUnavailable):
            for program in await last.look_all():
                await last.stop(program)
        await last.close()
    _end_supervisord(tmp_path)


def _end_supervisord(folder: Path) -> None:
    with suppress(OSError, ValueError):
        os.kill(int((folder / "a" / "supervisord.pid").read_text()), signal.SIGTERM)


@pytest.fixture
async def driver(make: Maker) -> ProcessDriver:
    driver = make()
    await driver.ensure()
    return driver


def spec(folder: Path, number: int, code: str = SLEEPS, *, mode: str = "") -> ProgramSpec:
    program = f"ai-contract-{number}-abcdef"
    return ProgramSpec(
        program=program, argv=(sys.executable, "-c", code), folder=folder, script=folder / f"{program}.sh",
        pid_file=folder / "a" / "run" / f"{program}.pid", stdout=folder / "logs" / f"{program}.log",
        stderr=folder / "logs" / f"{program}_error.log", environment={"GREETING": "it's, you"}, mode=mode,
    )  # fmt: skip


async def eventually(look: Callable[[], Awaitable[Found | None]], seconds: float = 60) -> Found:
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        found = await look()
        if found:
            return found
        await asyncio.sleep(0.05)
    pytest.fail(f"not within {seconds} s")


async def running(driver: ProcessDriver, program: str) -> Seen:
    """Wait until the program runs, which no driver tells of."""

    async def look() -> Seen | None:
        seen = await driver.look(program)
        return seen if seen is not None and seen.alive and seen.pid else None

    return await eventually(look)


async def written(path: Path) -> str:
    async def look() -> str | None:
        return path.read_text() if path.exists() and path.read_text().endswith("\n") else None

    return await eventually(look)


async def gone(pid: int) -> None:
    async def look() -> bool:
        with suppress(psutil.NoSuchProcess):
            return psutil.Process(pid).status() == psutil.STATUS_ZOMBIE
        return True

    await eventually(look)


@pytest.mark.parametrize("fake", [True, False])
async def test_a_started_program_runs_until_it_is_stopped(fake: bool, make: Maker, tmp_path: Path) -> None:  # noqa: FBT001  # pytest's
    driver: ProcessDriver = FakeProcesses() if fake else make()
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
    assert driver.holds
    await driver.stop(one.program)
    assert await driver.look(one.program) is None
    assert set(await driver.look_all()) == {two.program}
    await driver.stop(one.program)


@pytest.mark.parametrize("fake", [True, False])
async def test_what_was_never_started_is_unknown_and_the_manager_is_started_once(fake: bool, make: Maker) -> None:  # noqa: FBT001
    driver: ProcessDriver = FakeProcesses() if fake else make()
    await driver.ensure()
    assert await driver.ensure() is False
    assert await driver.look("ai-none-1-abcdef") is None
    assert await driver.look_all() == {}
    await driver.stop("ai-none-1-abcdef")


async def test_a_program_sees_what_it_was_given_and_writes_to_its_own_two_logs(
    driver: ProcessDriver, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SECRET_KEY", "the platform's")
    code = "import json, os, sys; print(json.dumps(dict(os.environ)), flush=True); print('oh', file=sys.stderr)\n"
    one = spec(tmp_path, 1, code + SLEEPS)
    await driver.start(one)
    environment = json.loads(await written(one.stdout))
    assert environment.pop("GREETING") == "it's, you"
    assert set(environment) <= {"LC_CTYPE", "PWD", "SHLVL", "_"}, "the rest is the shell's or Python's own"
    assert await written(one.stderr) == "oh\n"
    assert one.script.exists(), "by hand it can be run, too"


@pytest.mark.parametrize("fake", [True, False])
async def test_a_paused_program_stays_ended_until_it_is_resumed(fake: bool, make: Maker, tmp_path: Path) -> None:  # noqa: FBT001
    driver: ProcessDriver = FakeProcesses() if fake else make()
    await driver.ensure()
    one = spec(tmp_path, 1)
    await driver.start(one)
    before = await running(driver, one.program)
    await driver.pause(one.program)
    await driver.pause(one.program)
    paused = await driver.look(one.program)
    assert paused is not None
    assert (paused.state, paused.alive) == ("STOPPED", False)
    assert set(await driver.look_all()) == {one.program}, "it is known all the while"
    await driver.resume(one.program)
    again = await running(driver, one.program)
    assert again.pid != before.pid
    await driver.resume(one.program)
    assert (await running(driver, one.program)).pid == again.pid
    await driver.stop(one.program)
    await driver.pause(one.program)
    await driver.resume(one.program)
    assert await driver.look(one.program) is None, "what was stopped for good is not brought back"


async def test_what_was_paused_is_so_for_the_next_deployer(make: Maker, tmp_path: Path) -> None:
    first = make()
    await first.ensure()
    one = spec(tmp_path, 1)
    await first.start(one)
    await running(first, one.program)
    await first.pause(one.program)
    await first.close()
    second = make()
    await second.ensure()
    await asyncio.sleep(0.5)
    seen = await second.look(one.program)
    assert seen is not None
    assert seen.state == "STOPPED"
    await second.resume(one.program)
    assert (await running(second, one.program)).alive


async def test_a_killed_program_comes_back(driver: ProcessDriver, tmp_path: Path) -> None:
    one = spec(tmp_path, 1)
    await driver.start(one)
    first = await running(driver, one.program)
    await asyncio.sleep(1.2)  # past its start, from which on an end is no failed start
    os.kill(first.pid, signal.SIGKILL)

    async def another() -> bool:
        seen = await driver.look(one.program)
        return seen is not None and seen.alive and seen.pid not in {0, first.pid}

    assert await eventually(another)


async def test_a_program_that_ends_at_once_is_tried_again_and_given_up_at_last(
    driver: ProcessDriver, tmp_path: Path
) -> None:
    one = replace(spec(tmp_path, 1), argv=("/bin/sh", "-c", "echo a try; exit 3"))
    await driver.start(one)

    async def given_up() -> Seen | None:
        seen = await driver.look(one.program)
        return seen if seen is not None and seen.gave_up else None

    seen = await eventually(given_up)
    assert seen.exit_code in {3, None}, "supervisord does not tell of an end that came too early"
    assert not seen.alive
    assert one.stdout.read_text().count("a try") >= 4, "once, and three times again"
    await driver.start(one)
    again = await driver.look(one.program)
    assert again is not None
    assert not again.gave_up, "a start begins anew"
    await driver.stop(one.program)
    assert await driver.look(one.program) is None


async def test_stop_ends_the_whole_group_of_a_program_that_ignores_it(driver: ProcessDriver, tmp_path: Path) -> None:
    one = spec(tmp_path, 1, STUBBORN)
    await driver.start(one)
    child = int(await written(one.stdout))
    seen = await running(driver, one.program)
    await driver.stop(one.program)
    assert await driver.look(one.program) is None
    await gone(seen.pid)
    await gone(child)


async def test_the_next_deployer_finds_the_programs_of_the_one_before(make: Maker, tmp_path: Path) -> None:
    before = make()
    await before.ensure()
    one, two = spec(tmp_path, 1), spec(tmp_path, 2)
    await before.start(one)
    await before.start(two)
    pids = {program: (await running(before, program)).pid for program in (one.program, two.program)}
    await before.close()
    after = make()
    assert after.holds
    await after.ensure()
    assert {program: seen.pid for program, seen in (await after.look_all()).items()} == pids
    await after.start(one)
    assert (await running(after, one.program)).pid == pids[one.program], "it runs: nothing is started"
    os.kill(pids[two.program], signal.SIGKILL)

    async def back() -> bool:
        seen = await after.look(two.program)
        return seen is not None and seen.alive and seen.pid not in {0, pids[two.program]}

    assert await eventually(back), "it keeps what it found running"
    await after.stop(one.program)
    await gone(pids[one.program])
