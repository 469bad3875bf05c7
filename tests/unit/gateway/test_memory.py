"""What the gateway keeps in memory: the directory of algorithms, and who waits for what."""

from __future__ import annotations

import asyncio

import pytest

from algodock_common.errors import NotFound
from algodock_common.identifiers import uuid7
from algodock_gateway.domain.algorithm import Algorithm
from algodock_gateway.handlers.algorithms import name_from
from algodock_gateway.handlers.directory import Directory
from algodock_gateway.handlers.tasks import Tasks
from algodock_gateway.handlers.waiters import Waiters


class Rows:
    """Algorithms in a list."""

    def __init__(self, *algorithms: Algorithm) -> None:
        self.algorithms = list(algorithms)
        self.asked = 0

    async def all_algorithms(self) -> list[Algorithm]:
        return self.algorithms

    async def algorithm(self, name_or_id: str) -> Algorithm | None:
        self.asked += 1
        return next((one for one in self.algorithms if name_or_id in (one.name, str(one.id))), None)


async def test_an_algorithm_is_found_by_name_and_id_and_a_missing_one_is_asked_for_once_a_second() -> None:
    echo = Algorithm(uuid7(), "echo", "created", "x", "")
    rows = Rows(echo)
    directory = Directory(rows)
    assert await directory.find("echo") is await directory.find(str(echo.id)) is echo
    assert rows.asked == 1
    for _ in range(10):
        assert await directory.find("none") is None
    assert rows.asked == 2
    made = Algorithm(uuid7(), "none", "created", "x", "")
    directory.add(made)
    assert await directory.find("none") is made


async def test_a_change_between_looking_and_waiting_is_not_missed() -> None:
    waiters = Waiters()

    class Runner:
        state = "running"

        async def task(self, task_id: object, *, identity: str, place: bool = False) -> dict[str, object]:  # noqa: ARG002  # nobody asks for it
            seen = self.state
            self.state = "succeeded"
            waiters.wake(str(task_id))  # it ends just after it was read
            return {"state": seen, "identity": identity}

    started = asyncio.get_running_loop().time()
    task = await Tasks(Runner(), waiters).get(uuid7(), identity="x", wait_s=30)
    assert task["state"] == "succeeded"
    assert asyncio.get_running_loop().time() - started < 0.9
    assert len(waiters) == 0


async def test_a_poll_is_answered_by_the_signal_without_another_read() -> None:
    waiters = Waiters()

    class Runner:
        reads = 0

        async def task(self, task_id: object, *, identity: str, place: bool = False) -> dict[str, object]:  # noqa: ARG002  # as above
            self.reads += 1
            ended = {"id": str(task_id), "state": "succeeded", "seen_by": identity}
            asyncio.get_running_loop().call_soon(waiters.wake, str(task_id), ended)
            return {"state": "queued"}

    runner = Runner()
    task = await Tasks(runner, waiters).get(uuid7(), identity="x", wait_s=30)
    assert task["seen_by"] == "x"
    assert runner.reads == 1


async def test_a_poll_reads_again_where_every_signal_and_event_was_lost() -> None:
    class Runner:
        reads = 0

        async def task(self, task_id: object, *, identity: str, place: bool = False) -> dict[str, object]:  # noqa: ARG002  # as above
            self.reads += 1
            return {"state": "running" if self.reads == 1 else "succeeded"}

    async with asyncio.timeout(60):
        task = await Tasks(Runner(), Waiters()).get(uuid7(), identity="x", wait_s=3600)
    assert task["state"] == "succeeded"


async def test_a_signal_is_for_nobody_who_may_not_read_the_task() -> None:
    waiters = Waiters()

    class Runner:
        async def task(self, task_id: object, *, identity: str, place: bool = False) -> dict[str, object]:  # noqa: ARG002  # nobody may
            waiters.wake(str(task_id), {"id": str(task_id), "state": "succeeded"})
            raise NotFound("There is no such task.")

    with pytest.raises(NotFound):
        await Tasks(Runner(), waiters).get(uuid7(), identity="stranger", wait_s=30)


@pytest.mark.parametrize(
    ("url", "name"),
    [
        ("https://git.example.com/team/Text_Classify.git", "text-classify"),
        ("https://git.example.com/team/x/", "x"),
        ("https://git.example.com/team/---", ""),
    ],
)
def test_a_repositorys_name_suggests_the_algorithms(url: str, name: str) -> None:
    assert name_from(url) == name
