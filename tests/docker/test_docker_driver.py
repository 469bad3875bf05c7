"""What every process driver promises, asked of the one for the Docker Engine."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import AsyncIterator
from dataclasses import replace
from pathlib import Path

import pytest

from algodock_cli.stack.algorithm_containers import end_containers
from algodock_deployer.clients.processes import ProcessDriver
from algodock_deployer.domain.errors import EngineRefused
from tests.contract import test_process_drivers as contract
from tests.docker.test_containers import engine

driver = contract.driver
globals().update({name: test for name, test in vars(contract).items() if name.startswith("test_")})


@pytest.fixture
async def make(tmp_path: Path) -> AsyncIterator[contract.Maker]:
    async for maker in contract.made("docker", tmp_path):
        yield maker


COUNTS = "import itertools, time\nfor n in itertools.count():\n    print(n, flush=True)\n    time.sleep(0.05)"


@pytest.mark.parametrize("fault", ["image", "port"])
async def test_what_the_engine_refuses_is_said_and_leaves_nothing(
    fault: str, driver: ProcessDriver, make: contract.Maker
) -> None:
    one = make.spec(1)
    with socket.create_server(("127.0.0.1", 0)) as taken:
        wrong, said = {
            "image": (replace(one, image="algodock/none:0"), "No such image"),
            "port": (replace(one, port=taken.getsockname()[1]), "address already in use"),
        }[fault]
        with pytest.raises(EngineRefused, match=said):
            await driver.start(wrong)
    assert await driver.look(one.program) is None
    assert not driver.holds
    await driver.start(one)
    assert (await contract.running(driver, one.program)).alive, "another try is not held up"


async def test_a_command_that_is_not_there_ends_at_once_and_says_so(
    driver: ProcessDriver, make: contract.Maker
) -> None:
    one = replace(make.spec(1), argv=("/no/such/program",))
    await driver.start(one)

    async def ended() -> bool:
        seen = await driver.look(one.program)
        return seen is not None and seen.exit_code == 127 and "No such file or directory" in one.stderr.read_text()

    await contract.eventually(ended)


async def test_the_next_deployer_goes_on_with_the_output_where_the_one_before_ended(make: contract.Maker) -> None:
    before = make()
    await before.ensure()
    one = make.spec(1, COUNTS)
    await before.start(one)

    async def counted(least: int) -> list[int]:
        async def look() -> list[int] | None:
            found = [int(line) for line in one.stdout.read_text().splitlines()]
            return found if len(found) > least else None

        return await contract.eventually(look)

    first = await counted(5)
    await before.close()
    await asyncio.sleep(0.5)  # nobody copies, and the program goes on
    after = make()
    await after.ensure()
    found = await counted(len(first) + 20)
    assert found == list(range(len(found))), "each line once"


async def test_what_ended_without_us_is_started_again_and_what_we_paused_is_not(
    driver: ProcessDriver, make: contract.Maker
) -> None:
    ended, paused = make.spec(1), make.spec(2)
    for one in (ended, paused):
        await driver.start(one)
        await contract.running(driver, one.program)
    await driver.pause(paused.program)
    with engine() as client:  # as an engine that was killed does when it is back
        client.post(f"/containers/{ended.program}/stop", params={"t": "1"}).raise_for_status()
    await contract.running(driver, ended.program)
    assert [seen.state for name, seen in (await driver.look_all()).items() if name == paused.program] == ["STOPPED"]


async def test_down_ends_containers_that_run_and_those_that_have_ended(
    driver: ProcessDriver, make: contract.Maker
) -> None:
    runs, rests = make.spec(1), make.spec(2)
    for one in (runs, rests):
        await driver.start(one)
        await contract.running(driver, one.program)
    await driver.pause(rests.program)
    assert await asyncio.to_thread(end_containers, (make.folder / "docker").absolute())
    assert await driver.look_all() == {}
