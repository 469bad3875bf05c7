"""Several instances: a release takes over from another one by one, and never with fewer than before."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from typing import TYPE_CHECKING

from algodock_deployer.clients.fakes import FakeRegistry
from algodock_deployer.handlers import ServiceView

from .conftest import Deployer, eventually

if TYPE_CHECKING:
    from uuid import UUID

    from .conftest import Maker

THREE = {"algodock.yaml": "instances: 3\n"}
THIRD_FAILS = """
import pathlib, sys
count = pathlib.Path(sys.argv[0]).resolve().parent.parent / 'starts'
starts = int(count.read_text()) if count.exists() else 0
count.write_text(str(starts + 1))
if starts >= 2: sys.exit('no room for a third')
"""
FIRST_DIES = """
import os, pathlib, sys, threading, time
index = os.environ['TMPDIR'].rsplit('-', 2)[1]
died = pathlib.Path(os.environ['TMPDIR']) / 'died'
if index == '1':
    if died.exists(): sys.exit('it is over')
    died.touch()
    threading.Timer(1.0, lambda: os._exit(7)).start()
else:
    time.sleep(5)
"""


@asynccontextmanager
async def letting_go(deployer: Deployer) -> AsyncIterator[list[int]]:
    """Let the registry and routers drain what is to drain, and keep count of the leases meanwhile."""
    leases: list[int] = []

    async def pump() -> None:
        while True:
            leases.append(len(deployer.registry.leases))
            await deployer.drains()
            await asyncio.sleep(0.02)

    task = asyncio.create_task(pump())
    try:
        yield leases
    finally:
        task.cancel()
        with suppress(asyncio.CancelledError):
            await task


async def settled(deployer: Deployer, name: str, release_id: UUID, count: int = 3) -> ServiceView:
    """Wait until ``count`` instances of the release serve, and nothing else is left."""

    async def look() -> ServiceView | None:
        view = await deployer.service(name)
        mine = [one for one in view.instances if one.release_id == release_id]
        return view if len(mine) == len(view.instances) == len(deployer.registry.leases) == count else None

    return await eventually(look, 60, f"{name} to be served by {count} of {release_id}")


async def told(deployer: Deployer, name: str) -> list[list[UUID]]:
    """Return what routers were told to serve, change after change."""
    lists = [one.instances for one in await deployer.events(name) if one.state == "live" and one.instances]
    return [one for number, one in enumerate(lists) if not number or one != lists[number - 1]]


async def test_a_release_takes_over_one_by_one_with_one_port_more_at_a_time(deployer: Deployer) -> None:
    sample = {"samples/one.json": json.dumps({"input": {"a": 1}})}
    old = await deployer.live("oneby", deployer.program("one") | THREE)
    before = [one.id for one in (await deployer.service("oneby")).instances]
    async with letting_go(deployer) as leases:
        new = await deployer.live("oneby", deployer.program("two") | THREE | sample)
        view = await settled(deployer, "oneby", new.id)
    after = [one.id for one in view.instances]
    assert max(leases) == 4, "one port more than before, at any moment"
    assert await told(deployer, "oneby") == [
        before,
        [after[0], *before[1:]],
        [*after[:2], before[2]],
        after,
    ], "never fewer than before"
    steps = [step["name"] for step in new.steps if step["name"] in {"lease", "samples", "join", "switch"}]
    assert steps == ["lease", "samples", "join", "lease", "join", "lease", "switch"], "the first one is proven"
    states = [one.state for one in await deployer.events("oneby") if one.commit == old.commit]
    assert states.index("draining") > len(states) - 3, "it is live until its last instance goes"
    assert (await deployer.answer("oneby"))["version"] == "two"


async def test_a_failure_in_the_middle_puts_the_old_release_back(deployer: Deployer) -> None:
    old = await deployer.live("oneby-back", deployer.program("one") | THREE)
    async with letting_go(deployer):
        commit = await deployer.push("oneby-back", deployer.program("two", before=THIRD_FAILS) | THREE)
        failed = await deployer.release("oneby-back", commit, "failed", "live", seconds=120)
        view = await settled(deployer, "oneby-back", old.id)
    assert failed.state == "failed"
    assert "no room for a third" in failed.reason
    assert all(len(one) >= 3 for one in await told(deployer, "oneby-back")), "never fewer than before"
    assert view.service.live_release_id == old.id
    assert (view.service.status, view.service.health) == ("running", "healthy")
    assert len(await deployer.processes.look_all()) == 3


async def test_one_that_joined_and_dies_ends_the_release(deployer: Deployer) -> None:
    old = await deployer.live("oneby-dies", deployer.program("one") | {"algodock.yaml": "instances: 2\n"})
    async with letting_go(deployer):
        files = deployer.program("two", before=FIRST_DIES) | {"algodock.yaml": "instances: 2\n"}
        commit = await deployer.push("oneby-dies", files)
        failed = await deployer.release("oneby-dies", commit, "failed", "live", seconds=120)
        await settled(deployer, "oneby-dies", old.id, 2)
    assert failed.state == "failed"


async def test_a_restart_replaces_every_instance_in_turn(deployer: Deployer) -> None:
    release = await deployer.live("oneby-anew", deployer.program("one") | THREE)
    before = {one.id for one in (await deployer.service("oneby-anew")).instances}
    async with letting_go(deployer) as leases:
        await deployer.command("oneby-anew", "restart")

        async def replaced() -> bool:
            view = await deployer.service("oneby-anew")
            return before.isdisjoint(one.id for one in view.instances) and len(view.instances) == 3

        await eventually(replaced, 60, "every instance to be another")
        await settled(deployer, "oneby-anew", release.id)
    assert max(leases) == 4
    assert all(len(one) == 3 for one in await told(deployer, "oneby-anew"))


async def test_a_crash_in_the_middle_is_gone_on_from(make: Maker) -> None:
    registry = FakeRegistry()
    async with make(registry) as first:
        await first.live("oneby-on", first.program("one") | THREE)
        commit = await first.push("oneby-on", first.program("two") | THREE)

        async def joined() -> UUID | None:
            view = await first.service("oneby-on")
            new = [one for one in view.instances if one.release_id != view.service.live_release_id]
            return new[0].id if new else None

        kept = await eventually(joined, 60, "the first new instance to have joined")
    async with make(registry) as second, letting_go(second):
        second.ids, second.store.__dict__ = first.ids, first.store.__dict__
        new = await second.release("oneby-on", commit, "live")
        view = await settled(second, "oneby-on", new.id)
    assert kept in {one.id for one in view.instances}, "what had joined serves on"


async def test_when_nothing_lives_any_more_all_start_together(deployer: Deployer) -> None:
    await deployer.live("oneby-none", deployer.program("one") | THREE)
    dead = (await deployer.service("oneby-none")).instances
    for one in dead:
        await deployer.processes.pause(one.program)
    async with letting_go(deployer):
        await deployer.command("oneby-none", "restart")

        async def back() -> bool:
            view = await deployer.service("oneby-none")
            return len(view.instances) == 3 and {one.id for one in dead}.isdisjoint(one.id for one in view.instances)

        await eventually(back, 60, "three others to serve")
    lists = await told(deployer, "oneby-none")
    assert len(lists) == 2, "all of them at once"
