"""A service's timeline: everything that happened to it, in order, and by whom."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING
from uuid import uuid4

import pytest

from algodock_deployer import handlers
from algodock_deployer.domain.errors import ServiceNotFound
from algodock_deployer.handlers.status import show_status
from algodock_deployer.repository import Instances, Services, Timeline

from .conftest import eventually

if TYPE_CHECKING:
    from algodock_deployer.domain.timeline import Entry

    from .conftest import Deployer


async def _kinds(deployer: Deployer, name: str, last: str, count: int = 1) -> list[Entry]:
    """Return a service's timeline, oldest first, once ``last`` has happened ``count`` times."""

    async def look() -> list[Entry] | None:
        _, entries, _ = await handlers.timeline_of(deployer.context, name, limit=500, before=None)
        found = list(reversed(entries))
        return found if sum(one.kind == last for one in found) >= count else None

    return await eventually(look, 60, f"{name} to be {last}")


async def test_a_push_is_told_from_pushed_to_switched(deployer: Deployer) -> None:
    first = await deployer.live("told", deployer.program("one"))
    entries = await _kinds(deployer, "told", "switched")
    assert [one.kind for one in entries] == ["pushed", "built", "probed", "switched"]
    assert all(one.ok and one.release_id == first.id and one.commit == first.commit for one in entries)
    assert entries[0].detail == "main: change"
    second = await deployer.live("told", deployer.program("two"))
    last = (await _kinds(deployer, "told", "switched", 2))[-1]
    assert last.detail == f"from {first.commit[:10]} to {second.commit[:10]}"


async def test_commands_are_told_with_who_gave_them_and_how_they_ended(deployer: Deployer) -> None:
    await deployer.live("asked", deployer.program("one"))
    await deployer.command("asked", "restart", actor="ann")
    entries = await _kinds(deployer, "asked", "restarted")
    assert [(one.kind, one.actor) for one in entries[-3:]] == [
        ("probed", "ann"),
        ("switched", "ann"),
        ("restarted", "ann"),
    ]
    await deployer.command("asked", "rollback", actor="bob")
    last = (await _kinds(deployer, "asked", "rolled back"))[-1]
    assert (last.actor, last.ok) == ("bob", False)
    assert "no release before" in last.detail


async def test_a_failure_is_told_with_its_reason_and_what_went_down_and_came_back(deployer: Deployer) -> None:
    await deployer.live("fails", deployer.program("one"))
    await deployer.push("fails", {"main.py": "raise RuntimeError('not today')"})
    last = (await _kinds(deployer, "fails", "failed"))[-1]
    assert not last.ok
    assert "RuntimeError: not today" in last.detail
    instance = (await deployer.service("fails")).instances[0]
    for seen in ("EXITED", "RUNNING"):
        async with deployer.context.database.transaction() as tx:
            await Services(tx.session).locked(deployer.ids["fails"])  # before its instances, as everybody does
            await Instances(tx.session).saw(instance.id, seen)
            await show_status(tx, deployer.ids["fails"])
    entries = await _kinds(deployer, "fails", "recovered")
    assert [one.kind for one in entries if one.actor == "deployer"][-2:] == ["degraded", "recovered"]


async def test_a_timeline_is_read_in_parts_trimmed_and_outlives_its_service(deployer: Deployer) -> None:
    context, service_id = deployer.context, uuid4()
    async with context.database.transaction() as tx:
        await Services(tx.session).put(service_id, "long")
        await Services(tx.session).update(service_id, desired="removed")
        for number in range(5):
            await Timeline(tx.session).note(service_id, "stopped", detail=str(number))
    _, newest, more = await handlers.timeline_of(context, "long", limit=3, before=None)
    _, rest, no_more = await handlers.timeline_of(context, "long", limit=3, before=newest[-1].number)
    assert ([one.detail for one in newest], more) == (["4", "3", "2"], True)
    assert ([one.detail for one in rest], no_more) == (["1", "0"], False)
    async with context.database.transaction() as tx:
        await Timeline(tx.session).trim(keep=2)
    _, left, _ = await handlers.timeline_of(context, "long", limit=9, before=None)
    assert [one.detail for one in left] == ["4", "3"]
    with pytest.raises(ServiceNotFound):
        await handlers.timeline_of(context, "never", limit=1, before=None)


async def test_two_who_wrote_of_a_service_and_lock_it_then_take_turns(deployer: Deployer) -> None:
    database, service_id = deployer.context.database, uuid4()
    async with database.transaction() as tx:
        await Services(tx.session).put(service_id, "turns")

    async def lock_later(wrote: asyncio.Event, other: asyncio.Event) -> None:
        async with database.transaction() as tx:
            await Timeline(tx.session).note(service_id, "stopped")
            wrote.set()
            await other.wait()
            await Services(tx.session).locked(service_id)

    first, second = asyncio.Event(), asyncio.Event()
    async with asyncio.timeout(60):
        await asyncio.gather(lock_later(first, second), lock_later(second, first))
