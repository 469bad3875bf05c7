"""Plain processes: what a crash of the deployer leaves, and whom nobody may be taken for."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import AsyncIterator, Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from algodock_deployer.clients import kept_process
from algodock_deployer.clients.kept_process import rotate
from algodock_deployer.clients.local import LocalDriver
from algodock_deployer.clients.processes import DriverUnavailable, Seen
from algodock_deployer.domain.programs import ProgramSpec

PROGRAM = "ai-local-1-abcdef"


def spec(folder: Path) -> ProgramSpec:
    return ProgramSpec(
        program=PROGRAM, argv=(sys.executable, "-c", "import time; time.sleep(120)"), folder=folder,
        script=folder / "start.sh", pid_file=folder / "unused.pid",
        stdout=folder / "out.log", stderr=folder / "err.log",
    )  # fmt: skip


@pytest.fixture
async def driver(tmp_path: Path) -> AsyncIterator[LocalDriver]:
    driver = LocalDriver(tmp_path / "local")
    yield driver
    await driver.stop(PROGRAM)
    await driver.close()


async def seen(driver: LocalDriver) -> Seen:
    """Wait until the program has a process; one is started without delay, but not before this task lets it."""
    async with asyncio.timeout(60):
        while True:
            found = await driver.look(PROGRAM)
            if found is not None and found.pid:
                return found
            await asyncio.sleep(0.02)


async def test_two_deployers_do_not_keep_the_same_programs(driver: LocalDriver, tmp_path: Path) -> None:
    await driver.ensure()
    other = LocalDriver(tmp_path / "local")
    with pytest.raises(DriverUnavailable, match="another deployer keeps the programs"):
        await other.ensure()
    with pytest.raises(DriverUnavailable, match="another deployer keeps the programs"):
        await other.start(spec(tmp_path))
    await driver.close()
    assert await other.ensure()
    await other.close()


async def test_a_crash_before_the_process_was_noted_leaves_it_known_by_its_pid_file(
    driver: LocalDriver, tmp_path: Path
) -> None:
    await driver.start(spec(tmp_path))
    pid = (await seen(driver)).pid
    pid_file, record = tmp_path / "local" / f"{PROGRAM}.pid", tmp_path / "local" / f"{PROGRAM}.json"
    async with asyncio.timeout(60):
        while not (pid_file.exists() and pid_file.read_text().strip()):  # noqa: ASYNC110  # the shell tells nobody
            await asyncio.sleep(0.02)
    await driver.close()
    record.write_text(json.dumps(json.loads(record.read_text()) | {"pid": 0, "ticks": 0}))
    await driver.ensure()
    assert (await seen(driver)).pid == pid


@pytest.fixture
def other() -> Iterator[subprocess.Popen[bytes]]:
    with subprocess.Popen([sys.executable, "-c", "import time; time.sleep(120)"], start_new_session=True) as process:
        yield process
        process.kill()


@pytest.mark.parametrize("fault", ["another process has the number", "another boot"])
async def test_nobody_else_is_taken_for_the_program(
    fault: str, driver: LocalDriver, tmp_path: Path, other: subprocess.Popen[bytes]
) -> None:
    await driver.start(spec(tmp_path))
    pid = (await seen(driver)).pid
    await driver.close()
    os.killpg(pid, signal.SIGKILL)
    record, pid_file = (tmp_path / "local" / f"{PROGRAM}.{kind}" for kind in ("json", "pid"))
    ticks = int(Path(f"/proc/{other.pid}/stat").read_text().rpartition(")")[2].split()[kept_process.STARTED])
    noted = json.loads(record.read_text()) | {"pid": other.pid, "ticks": ticks}
    noted |= {"boot": "before"} if fault == "another boot" else {"ticks": ticks - 100}
    record.write_text(json.dumps(noted))
    pid_file.write_text(str(other.pid))
    os.utime(pid_file, (time.time() - 3600, time.time() - 3600))
    await driver.ensure()
    assert (await seen(driver)).pid != other.pid, "it is started again"
    await driver.stop(PROGRAM)
    assert other.poll() is None, "and the other one is left alone"


async def test_a_damaged_record_is_dropped_and_its_neighbours_are_found(driver: LocalDriver, tmp_path: Path) -> None:
    await driver.start(spec(tmp_path))
    pid = (await seen(driver)).pid
    await driver.close()
    (tmp_path / "local" / "ai-damaged-1-abcdef.json").write_text('{"program": ')
    await driver.ensure()
    assert {name: one.pid for name, one in (await driver.look_all()).items()} == {PROGRAM: pid}


async def test_what_cannot_be_started_is_an_error_and_leaves_nothing(driver: LocalDriver, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    wrong = spec(tmp_path / "file")
    with pytest.raises(DriverUnavailable, match=f"{PROGRAM} does not start"):
        await driver.start(wrong)
    assert await driver.look(PROGRAM) is None
    assert not driver.holds


def test_a_log_past_its_size_is_copied_aside_five_times_at_most(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(kept_process, "LOG_BYTES", 10)
    with (tmp_path / "out.log").open("a") as program:
        for number in range(8):
            program.write(f"{number}: more than ten\n")
            program.flush()
            rotate(tmp_path / "out.log", tmp_path / "err.log")
    found = {path.name: path.read_text()[:1] for path in tmp_path.iterdir()}
    assert found == {"out.log": ""} | {f"out.log.{n}": str(8 - n) for n in range(1, 6)}


async def test_logs_are_kept_within_their_size_while_their_program_runs(
    driver: LocalDriver, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Nobody but the deployer looks after them: the program writes into its files itself."""
    monkeypatch.setattr(kept_process, "LOG_BYTES", 1000)
    floods = "import time\nwhile True:\n    print('x' * 100, flush=True)\n    time.sleep(0.001)\n"
    await driver.start(replace(spec(tmp_path), argv=(sys.executable, "-c", floods)))
    pid = (await seen(driver)).pid
    async with asyncio.timeout(60):
        while not (tmp_path / "out.log.2").exists():
            await driver.ensure()  # as the reconciler does every few seconds
            await asyncio.sleep(0.02)
    assert "xxx" in (tmp_path / "out.log.1").read_text()
    assert (await seen(driver)).pid == pid
