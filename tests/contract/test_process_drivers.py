"""What every process driver promises, asked of each: our supervisord, a user's, plain processes, both, the fake."""

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

from algodock_common.scheduling import BACKGROUND_NICE
from algodock_deployer.clients.docker import DockerDriver
from algodock_deployer.clients.docker_engine import Engine
from algodock_deployer.clients.drivers import ChosenDrivers
from algodock_deployer.clients.fakes import FakeProcesses
from algodock_deployer.clients.local import LocalDriver
from algodock_deployer.clients.processes import DriverUnavailable, ProcessDriver, Seen
from algodock_deployer.clients.supervisor import SupervisorDriver
from algodock_deployer.clients.users_supervisor import UsersSupervisorDriver
from algodock_deployer.domain.modes import Modes
from algodock_deployer.domain.programs import ProgramSpec
from tests.outside.supervisord import UsersSupervisord

Found = TypeVar("Found")
KINDS = ("supervisor", "users-supervisor", "local", "chosen")
"""`tests/docker` asks the same of the fifth."""

SLEEPS = "import time; time.sleep(120)"
STUBBORN = """
import os, signal, subprocess, sys, time
signal.signal(signal.SIGTERM, signal.SIG_IGN)
subprocess.Popen([sys.executable, "-c", "import time; time.sleep(120)"])
print("it began", flush=True)
time.sleep(120)
"""


class Maker:
    """Makes drivers over one folder, one after another as deployers are, and programs for them."""

    def __init__(self, kind: str, folder: Path) -> None:
        self.kind = kind
        self.folder = folder
        self.made: list[ProcessDriver] = []

    def __call__(self) -> ProcessDriver:
        self.made.append(self._driver())
        return self.made[-1]

    def spec(self, number: int, code: str = SLEEPS) -> ProgramSpec:
        folder, program = self.folder, f"ai-contract{os.getpid()}-{number}-abcdef"
        spec = ProgramSpec(
            program=program, argv=(sys.executable, "-c", code), folder=folder, script=folder / f"{program}.sh",
            pid_file=folder / "a" / "run" / f"{program}.pid", stdout=folder / "logs" / f"{program}.log",
            stderr=folder / "logs" / f"{program}_error.log", environment={"GREETING": "it's, you"},
        )  # fmt: skip
        if self.kind != "docker":
            return spec
        argv = ("python3", "-u", "-c", code)
        return replace(spec, argv=argv, image=os.environ["DEPLOYER_DOCKER_IMAGE"], mounts=(folder,))

    def _driver(self) -> ProcessDriver:
        folder = self.folder
        if self.kind == "docker":
            return DockerDriver(folder / "docker", Engine(os.environ["DOCKER_HOST"]))
        if self.kind == "users-supervisor":
            return UsersSupervisorDriver(folder / "a", folder / "conf.d", f"unix://{folder}/users.sock")
        supervisor = SupervisorDriver(folder / "a", folder / "a" / "programs", folder / "logs" / "supervisord.log")
        local = LocalDriver(folder / "local")
        if self.kind != "chosen":
            return local if self.kind == "local" else supervisor
        return ChosenDrivers({"supervisor": supervisor, "local": local}, Modes("local", {"OTHER": "supervisor"}))


@pytest.fixture(params=KINDS)
async def make(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[Maker]:
    async for maker in made(request.param, tmp_path):
        yield maker


async def made(kind: str, tmp_path: Path) -> AsyncIterator[Maker]:
    """Give a maker; what its drivers leave is ended."""
    maker = Maker(kind, tmp_path)
    users = UsersSupervisord(tmp_path) if kind == "users-supervisor" else None
    if users is not None:
        await users.start()
        theirs = await users.programs()
    yield maker
    if users is not None:
        assert await users.programs() == theirs, "what the user runs there was never touched"
    for driver in maker.made:
        await driver.close()
    last = maker()
    with suppress(DriverUnavailable):
        await last.ensure()  # a driver of processes takes over what the ones before left
        for program in await last.look_all():
            await last.stop(program)
    await last.close()
    if users is not None:
        assert [path.name for path in (tmp_path / "conf.d").iterdir()] == ["web.conf"], "no file of ours is left"
        users.end()
    with suppress(OSError, ValueError):
        os.kill(int((tmp_path / "a" / "supervisord.pid").read_text()), signal.SIGTERM)


@pytest.fixture
async def driver(make: Maker) -> ProcessDriver:
    driver = make()
    await driver.ensure()
    return driver


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
async def test_a_started_program_runs_until_it_is_stopped(fake: bool, make: Maker) -> None:  # noqa: FBT001  # pytest's
    driver: ProcessDriver = FakeProcesses() if fake else make()
    await driver.ensure()
    one, two = make.spec(1), make.spec(2)
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
    assert driver.may_have(one.program)
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
    driver: ProcessDriver, make: Maker, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SECRET_KEY", "the platform's")
    code = "import json, os, sys; print(json.dumps(dict(os.environ)), flush=True); print('oh', file=sys.stderr)\n"
    one = make.spec(1, code + SLEEPS)
    await driver.start(one)
    environment = json.loads(await written(one.stdout))
    assert environment.pop("GREETING") == "it's, you"
    own = {"LC_CTYPE", "PWD", "SHLVL", "_"} | ({"PATH", "HOME", "HOSTNAME"} if make.kind == "docker" else set())
    assert set(environment) <= own, "the rest is the shell's, Python's or the container's own"
    assert await written(one.stderr) == "oh\n"
    assert one.script.exists(), "by hand it can be run, too"


@pytest.mark.parametrize("fake", [True, False])
async def test_a_paused_program_stays_ended_until_it_is_resumed(fake: bool, make: Maker) -> None:  # noqa: FBT001
    driver: ProcessDriver = FakeProcesses() if fake else make()
    await driver.ensure()
    one = make.spec(1)
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


async def test_what_was_paused_is_so_for_the_next_deployer(make: Maker) -> None:
    first = make()
    await first.ensure()
    one = make.spec(1)
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


@pytest.mark.skipif(os.geteuid() != 0, reason="only root may raise a priority, and only root's services lower theirs")
@pytest.mark.parametrize("make", ["supervisor", "local"], indirect=True)
async def test_what_a_deployer_that_yields_to_calls_starts_does_not_yield(make: Maker) -> None:
    """The other kinds' programs are started by who is no child of the deployer, and inherit nothing of it."""
    ours, one = os.getpriority(os.PRIO_PROCESS, 0), make.spec(1)
    os.setpriority(os.PRIO_PROCESS, 0, max(BACKGROUND_NICE, ours))
    try:
        driver = make()
        await driver.ensure()
        await driver.start(one)
        first = await running(driver, one.program)
        assert os.getpriority(os.PRIO_PROCESS, first.pid) == 0
        await driver.pause(one.program)
        await driver.resume(one.program)
        again = await running(driver, one.program)
        assert os.getpriority(os.PRIO_PROCESS, again.pid) == 0, "nor when it is started again"
    finally:
        os.setpriority(os.PRIO_PROCESS, 0, ours)


async def test_a_killed_program_comes_back(driver: ProcessDriver, make: Maker) -> None:
    one = make.spec(1)
    await driver.start(one)
    first = await running(driver, one.program)
    await asyncio.sleep(1.2)  # past its start, from which on an end is no failed start
    os.kill(first.pid, signal.SIGKILL)

    async def another() -> bool:
        seen = await driver.look(one.program)
        return seen is not None and seen.alive and seen.pid not in {0, first.pid}

    assert await eventually(another)


async def test_a_program_that_ends_at_once_is_tried_again_and_given_up_at_last(
    driver: ProcessDriver, make: Maker
) -> None:
    one = replace(make.spec(1), argv=("/bin/sh", "-c", "echo a try; exit 3"))
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


async def test_stop_ends_the_whole_group_of_a_program_that_ignores_it(driver: ProcessDriver, make: Maker) -> None:
    one = make.spec(1, STUBBORN)
    await driver.start(one)
    await written(one.stdout)
    seen = await running(driver, one.program)
    (child,) = psutil.Process(seen.pid).children()
    await driver.stop(one.program)
    assert await driver.look(one.program) is None
    await gone(seen.pid)
    await gone(child.pid)


async def test_the_next_deployer_finds_the_programs_of_the_one_before(make: Maker) -> None:
    before = make()
    await before.ensure()
    one, two = make.spec(1), make.spec(2)
    await before.start(one)
    await before.start(two)
    pids = {program: (await running(before, program)).pid for program in (one.program, two.program)}
    await before.close()
    after = make()
    assert after.holds
    assert after.may_have(one.program), "before it has looked, too"
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
