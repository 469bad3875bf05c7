"""Instances by hand: they come one by one, each proven, and go one by one without losing a call."""

from __future__ import annotations

from typing import TYPE_CHECKING

import httpx
import pytest

from algodock_common.events import Event, ServiceLoad
from algodock_deployer import handlers
from algodock_deployer.domain.errors import ServiceNotFound

from .conftest import eventually

if TYPE_CHECKING:
    from algodock_deployer.handlers import ServiceView

    from .conftest import Deployer


async def has(deployer: Deployer, name: str, count: int, seconds: float = 60) -> ServiceView:
    """Wait until the service has so many serving instances, and nothing drains."""

    async def look() -> ServiceView | None:
        await deployer.drains()
        view = await deployer.service(name)
        return view if len(view.instances) == count and not await deployer._draining() else None

    return await eventually(look, seconds, f"{name} to have {count} instances")


async def done(deployer: Deployer, name: str, text: str) -> None:
    async def look() -> bool:
        return text in (await deployer.service(name)).service.message

    await eventually(look, 60, f"{name} to say {text!r}")


async def test_instances_come_one_by_one_and_go_one_by_one(deployer: Deployer) -> None:
    await deployer.live("scale-steps", deployer.program("one"))
    (first,) = (await deployer.service("scale-steps")).instances
    await deployer.command("scale-steps", "scale", instances=3)
    view = await has(deployer, "scale-steps", 3)
    assert view.instances[0].id == first.id, "the one that served goes on"
    assert [one.index for one in view.instances] == [1, 2, 3]
    async with httpx.AsyncClient() as client:
        for one in view.instances:
            assert (await client.get(f"{one.base_url}/health")).status_code == 200
    lists = [one.instances for one in await deployer.events("scale-steps") if one.state == "live" and one.instances]
    assert [len(one) for one in lists][-2:] == [2, 3], "each gets its traffic when it is proven"

    await deployer.command("scale-steps", "scale", instances=1)
    assert [one.id for one in (await has(deployer, "scale-steps", 1)).instances] == [first.id]
    assert list(deployer.registry.leases) == [first.id]
    lists = [one.instances for one in await deployer.events("scale-steps") if one.state == "live" and one.instances]
    assert [len(one) for one in lists][-2:] == [2, 1]
    assert lists[-1] == [first.id]


async def test_the_number_holds_for_later_releases_and_starts(deployer: Deployer) -> None:
    await deployer.live("scale-holds", deployer.program("one"))
    await deployer.command("scale-holds", "scale", instances=2)
    await has(deployer, "scale-holds", 2)
    await deployer.live("scale-holds", deployer.program("two"))
    view = await has(deployer, "scale-holds", 2)
    assert len({one.release_id for one in view.instances}) == 1
    await deployer.command("scale-holds", "stop")
    await has(deployer, "scale-holds", 0)
    await deployer.status("scale-holds", "stopped")
    await deployer.command("scale-holds", "scale", instances=1)
    await deployer.command("scale-holds", "start")
    await has(deployer, "scale-holds", 1)


async def test_one_that_does_not_start_is_said_and_those_that_serve_go_on(deployer: Deployer) -> None:
    marker = "import pathlib, sys\nm = pathlib.Path(sys.argv[0]).resolve().parent.parent / 'second'\n"
    fails = "n = int(m.read_text()) if m.exists() else 0\nm.write_text(str(n + 1))\nif n >= 2: sys.exit('no room')\n"
    await deployer.live("scale-tight", deployer.program("one", before=marker + fails))
    await deployer.command("scale-tight", "scale", instances=4)
    await done(deployer, "scale-tight", "scale: the program exited")
    view = await has(deployer, "scale-tight", 2)
    assert "no room" in view.service.message
    assert view.service.status == "running"
    assert view.service.instances == 2, "what holds is what there is"
    assert len(deployer.registry.leases) == 2, "nothing of the one that failed is left"


@pytest.mark.parametrize("wanted", [0, 65, "three"])
async def test_a_number_that_cannot_be_is_refused_and_changes_nothing(deployer: Deployer, wanted: int | str) -> None:
    name = f"numbers-{wanted}"
    await deployer.live(name, deployer.program("one"))
    await deployer.command(name, "scale", instances=wanted)
    await done(deployer, name, "scale: a service has 1 to 64 instances")
    assert len((await deployer.service(name)).instances) == 1


async def test_a_pinned_port_serves_one(deployer: Deployer) -> None:
    port = 18_411
    files = deployer.program("one") | {"algodock.yaml": f"port: {port}\n"}
    await deployer.live("scale-pinned", files)
    await deployer.command("scale-pinned", "scale", instances=2)
    await done(deployer, "scale-pinned", "pinned port")
    assert len((await deployer.service("scale-pinned")).instances) == 1


async def test_a_rule_adds_instances_for_a_load_that_lasts_and_takes_them_away_after_it(deployer: Deployer) -> None:
    name = "scale-rule"
    await deployer.live(name, deployer.program("one"))
    await deployer.command(name, "scale", rule={"min": 1, "max": 3, "target": 2, "cooldown_s": 2})

    async def loaded() -> ServiceView | None:
        said = ServiceLoad(router="gateway", algorithm_id=deployer.ids[name], algorithm=name, in_flight=50)
        await handlers.take_load(deployer.context, Event.of(said, source="/test"))
        await deployer.drains()
        view = await deployer.service(name)
        return view if len(view.instances) == 3 else None

    view = await eventually(loaded, 60, "the rule to have grown it")
    assert view.service.scale_rule == {"min": 1, "max": 3, "target": 2.0, "cooldown_s": 2.0, "idle_s": 300.0}
    await has(deployer, name, 1)
    _, entries, _ = await handlers.timeline_of(deployer.context, name, limit=20, before=None)
    assert "scale rule" in {one.actor for one in entries}

    await deployer.command(name, "scale", instances=2)
    assert (await has(deployer, name, 2)).service.scale_rule is None, "a number by hand ends the rule"


async def test_a_rule_that_cannot_be_is_refused_and_the_service_stays_as_it_was(deployer: Deployer) -> None:
    await deployer.live("scale-wrong", deployer.program("one"))
    await deployer.command("scale-wrong", "scale", rule={"min": 3, "max": 2})
    await done(deployer, "scale-wrong", "scale: this is no scale rule")
    assert (await deployer.service("scale-wrong")).service.scale_rule is None


async def test_a_service_sleeps_after_idleness_and_wakes_when_it_is_asked_for(deployer: Deployer) -> None:
    name = "scale-sleeps"
    await deployer.live(name, deployer.program("one"))
    await deployer.command(name, "scale", rule={"min": 0, "max": 2, "cooldown_s": 1, "idle_s": 1})
    view = await has(deployer, name, 0)
    await done(deployer, name, "asleep")
    assert (view.service.desired, view.service.status) == ("running", "running")
    assert not deployer.registry.leases
    assert [one.serving for one in await deployer.events(name)][-1] is False, "routers let it go"
    await handlers.reconcile(deployer.context)
    assert (await deployer.service(name)).service.asleep, "nobody revives what sleeps"

    assert await handlers.wake(deployer.context, name)
    assert await handlers.wake(deployer.context, name), "who comes while it wakes waits, too"

    async def awake() -> bool:
        return bool((await deployer.service(name)).instances)

    await eventually(awake, 60, "it to wake")
    assert (await deployer.answer(name))["version"] == "one"

    async def told() -> int:
        _, entries, _ = await handlers.timeline_of(deployer.context, name, limit=20, before=None)
        return [one.actor for one in entries].count("wake")

    assert await eventually(told, 60, "the timeline to tell of it") == 1
    await has(deployer, name, 0)  # and sleeps again


async def test_a_service_that_does_not_wake_is_not_said_to_serve(deployer: Deployer) -> None:
    name = "scale-overslept"
    marker = "import pathlib, sys\nm = pathlib.Path(sys.argv[0]).resolve().parent.parent / 'once'\n"
    fails = "if m.exists(): sys.exit('no room')\nm.touch()\n"
    await deployer.live(name, deployer.program("one", before=marker + fails))
    await deployer.command(name, "scale", rule={"min": 0, "max": 2, "cooldown_s": 1, "idle_s": 1})
    await has(deployer, name, 0)
    await done(deployer, name, "asleep")
    assert await handlers.wake(deployer.context, name)
    await done(deployer, name, "no room")
    assert (await deployer.service(name)).service.asleep
    assert [one.serving for one in await deployer.events(name)][-1] is False


async def test_only_what_sleeps_is_woken(deployer: Deployer) -> None:
    with pytest.raises(ServiceNotFound):
        await handlers.wake(deployer.context, "nobody")
    await deployer.live("scale-stopped", deployer.program("one"))
    assert await handlers.wake(deployer.context, "scale-stopped"), "it is there"
    await deployer.command("scale-stopped", "stop")
    await has(deployer, "scale-stopped", 0)
    await deployer.status("scale-stopped", "stopped")
    assert not await handlers.wake(deployer.context, "scale-stopped")


async def test_a_release_that_is_pushed_to_a_sleeping_service_serves(deployer: Deployer) -> None:
    name = "scale-pushed"
    await deployer.live(name, deployer.program("one"))
    await deployer.command(name, "scale", rule={"min": 0, "max": 2, "cooldown_s": 1, "idle_s": 1})
    await has(deployer, name, 0)
    await done(deployer, name, "asleep")
    await deployer.command(name, "scale", rule={"min": 0, "max": 2, "cooldown_s": 60, "idle_s": 600})
    await deployer.live(name, deployer.program("two"))
    view = await deployer.service(name)
    assert len(view.instances) == 1
    assert not view.service.asleep
    assert (await deployer.answer(name))["version"] == "two"
