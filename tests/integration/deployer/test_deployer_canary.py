"""A canary: some of the calls for a new release, until it is promoted, ended, or ends itself."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import pytest

from algodock_deployer import handlers
from algodock_deployer.domain.errors import ServiceNotFound

from .conftest import eventually
from .test_deployer_rolling import letting_go, settled
from .test_deployer_watch import LEAVES

if TYPE_CHECKING:
    from algodock_deployer.domain.releases import Release

    from .conftest import Deployer

CANARY = {"algodock.yaml": "strategy: canary\ncanary: 20\n"}


async def canary(deployer: Deployer, name: str, version: str, *, before: str = "") -> Release:
    commit = await deployer.push(name, deployer.program(version, before=before) | CANARY)
    release = await deployer.release(name, commit, "canary", "live", "failed")
    assert release.state == "canary", release.reason
    return release


async def weights(deployer: Deployer, name: str) -> dict[bool, int]:
    """Return what the instances of the live release, and of another, weigh by the last event that says so."""
    view = await deployer.service(name)
    told = next(one for one in reversed(await deployer.events(name)) if one.weights)
    return {one.release_id == view.service.live_release_id: told.weights[one.id] for one in view.instances}


async def kinds(deployer: Deployer, name: str) -> list[str]:
    _, entries, _ = await handlers.timeline_of(deployer.context, name, limit=50, before=None)
    return [one.kind for one in entries]


async def test_a_canary_gets_its_part_and_takes_over_when_it_is_promoted(deployer: Deployer) -> None:
    old = await deployer.live("canary-good", deployer.program("one") | {"algodock.yaml": "instances: 2\n"})
    async with letting_go(deployer):
        new = await canary(deployer, "canary-good", "two")
        view = await deployer.service("canary-good")
        assert view.service.live_release_id == old.id
        assert [one.release_id for one in view.instances].count(new.id) == 1
        assert await weights(deployer, "canary-good") == {True: 2, False: 1}, "of 2 and 2 and 1 a fifth"
        assert new.steps[-1]["name"] == "canary"
        assert new.steps[-1]["detail"] == "20 % of the calls"
        await deployer.command("canary-good", "scale", instances=3)

        async def refused() -> bool:
            return "promote it or roll it back" in (await deployer.service("canary-good")).service.message

        await eventually(refused, 60, "scaling to be refused meanwhile")
        await deployer.command("canary-good", "promote")
        await deployer.release("canary-good", new.commit, "live")
        await settled(deployer, "canary-good", new.id, 1)
    assert await weights(deployer, "canary-good") == {True: 1}
    assert (await deployer.release("canary-good", old.commit, "kept")).reason == ""
    assert {"canary", "promoted", "switched"} <= set(await kinds(deployer, "canary-good"))


async def test_a_rollback_without_a_release_ends_the_canary_and_nothing_else(deployer: Deployer) -> None:
    old = await deployer.live("canary-ended", deployer.program("one"))
    async with letting_go(deployer):
        new = await canary(deployer, "canary-ended", "two")
        await deployer.command("canary-ended", "rollback", actor="ann")
        ended = await deployer.release("canary-ended", new.commit, "superseded")
        view = await settled(deployer, "canary-ended", old.id, 1)
    assert ended.reason == "ended by ann"
    assert view.service.live_release_id == old.id
    assert await weights(deployer, "canary-ended") == {True: 1}
    assert "rolled back" in await kinds(deployer, "canary-ended")


async def test_a_canary_that_fails_its_samples_gets_no_call(deployer: Deployer) -> None:
    await deployer.live("canary-wrong", deployer.program("one"))
    sample = {"samples/one.json": json.dumps({"input": {}, "expected": {"version": "one"}})}
    commit = await deployer.push("canary-wrong", deployer.program("two") | CANARY | sample)
    failed = await deployer.release("canary-wrong", commit, "failed", "canary", "live")
    assert failed.reason == "samples: one.json: $.version is 'two', expected 'one'"
    assert len(deployer.registry.leases) == len(await deployer.processes.look_all()) == 1
    assert (await deployer.answer("canary-wrong"))["version"] == "one"


async def test_a_canary_that_does_not_stay_up_ends_by_itself(deployer: Deployer) -> None:
    old = await deployer.live("canary-bad", deployer.program("one"))
    async with letting_go(deployer):
        new = await canary(deployer, "canary-bad", "two", before=LEAVES)
        ended = await deployer.release("canary-bad", new.commit, "failed", seconds=90)
        await settled(deployer, "canary-bad", old.id, 1)
        await deployer.status("canary-bad", "running")
    assert ended.reason.startswith("withdrawn: ")
    assert "exits in a row" in ended.reason
    assert (await deployer.answer("canary-bad"))["version"] == "one"


async def test_another_canary_makes_the_first_one_go_and_a_stop_ends_both(deployer: Deployer) -> None:
    await deployer.live("canary-next", deployer.program("one"))
    async with letting_go(deployer):
        first = await canary(deployer, "canary-next", "two")
        second = await canary(deployer, "canary-next", "three")
        assert "took its place" in (await deployer.release("canary-next", first.commit, "superseded")).reason
        await deployer.command("canary-next", "stop")
        await deployer.status("canary-next", "stopped")
        await deployer.release("canary-next", second.commit, "superseded")
    assert not deployer.registry.leases


async def test_a_commit_may_be_asked_to_be_a_canary_before_it_is_pushed(deployer: Deployer) -> None:
    with pytest.raises(ServiceNotFound):
        await handlers.ask_canary(deployer.context, "nobody", "a" * 40, 5)
    await deployer.live("canary-asked", deployer.program("one"))
    await handlers.ask_canary(deployer.context, "canary-asked", "c" * 40, 50)
    await handlers.ask_canary(deployer.context, "canary-asked", "c" * 40, 25)
    await deployer.push("canary-asked", deployer.program("two"), commit="c" * 40)
    await deployer.release("canary-asked", "c" * 40, "canary")
    assert await weights(deployer, "canary-asked") == {True: 3, False: 1}


async def test_where_nothing_serves_or_two_cannot_run_there_is_no_canary(deployer: Deployer) -> None:
    await deployer.live("canary-first", deployer.program("one") | CANARY)
    await handlers.ask_canary(deployer.context, "canary-first", "d" * 40, 10)
    files = deployer.program("two") | {"algodock.yaml": "strategy: recreate\n"}
    await deployer.push("canary-first", files, commit="d" * 40)
    failed = await deployer.release("canary-first", "d" * 40, "failed", "live", "canary")
    assert "runs beside the live release" in failed.reason
    assert (await deployer.answer("canary-first"))["version"] == "one"


async def test_there_is_nothing_to_promote_without_a_canary(deployer: Deployer) -> None:
    await deployer.live("canary-none", deployer.program("one"))
    await deployer.command("canary-none", "promote")

    async def said() -> bool:
        return "no canary that could be promoted" in (await deployer.service("canary-none")).service.message

    await eventually(said, 60, "the refusal to be said")
