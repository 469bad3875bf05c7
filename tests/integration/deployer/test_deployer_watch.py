"""The watch after a switch: which releases give the traffic back by themselves, and which do not."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING
from uuid import UUID

import sqlalchemy as sa

from algodock_common.events import Event, InstanceChanged
from algodock_deployer import handlers
from algodock_deployer.repository import Releases
from algodock_deployer.repository.tables import operations

from .conftest import QUICK, eventually

if TYPE_CHECKING:
    from algodock_deployer.domain.releases import Release

    from .conftest import Deployer, Maker

LEAVES = """
import os, threading
def leave():
    os.write(2, b"ValueError: zero\\0byte\\n")
    os._exit(7)
threading.Timer(1.5, leave).start()
"""
"""A program that is healthy for a moment, and then never stays up; no database keeps its last words as they are."""

DEAF = """
import os, threading, time
def deafen():
    Handler.do_GET = lambda self: self.send_error(503)
threading.Timer(1.0, deafen).start()
"""
"""A program that lives on and fails its probes."""


async def withdrawn(deployer: Deployer, name: str, release: Release) -> Release:
    """Wait until a release was rolled back, and return it with the reason."""

    async def look() -> Release | None:
        found = (await handlers.find_release(deployer.context, release.id)).release
        return found if found.reason.startswith("rolled back: ") else None

    return await eventually(look, 60, f"{name} to be rolled back")


async def silence(deployer: Deployer, name: str, release: Release) -> None:
    instance = (await deployer.service(name)).instances[0]
    change = InstanceChanged(
        instance_id=instance.id, algorithm_id=instance.service_id, algorithm=name, node_id="n",
        host=instance.host, port=instance.port, base_url=instance.base_url, release_id=release.id,
        state="silent", epoch=5,
    )  # fmt: skip
    await handlers.take_instance(deployer.context, Event.of(change, source="/test"))


async def test_a_release_that_does_not_stay_up_gives_the_traffic_back(deployer: Deployer) -> None:
    await deployer.live("crashes", deployer.program("one"))
    bad = await deployer.live("crashes", deployer.program("two", before=LEAVES))

    bad = await withdrawn(deployer, "crashes", bad)
    assert "exits in a row, the last one because it exited" in bad.reason
    assert "ValueError: zero\ufffdbyte" in bad.reason
    assert bad.state in {"draining", "kept"}
    assert (await deployer.answer("crashes"))["version"] == "one"
    view = await deployer.service("crashes")
    assert view.service.message.startswith(f"{bad.commit[:12]} rolled back: ")


async def test_a_release_that_lives_and_fails_its_probes_gives_the_traffic_back(deployer: Deployer) -> None:
    await deployer.live("deaf", deployer.program("one"))
    bad = await deployer.live("deaf", deployer.program("two", before=DEAF))
    health = f"{(await deployer.service('deaf')).instances[0].base_url}/health"

    async def deaf() -> bool | None:
        return not (await deployer.context.prober.ask(health)).healthy or None

    await eventually(deaf, 60, "the program to turn deaf")
    await silence(deployer, "deaf", bad)
    bad = await withdrawn(deployer, "deaf", bad)
    assert "it fails its probes: GET /health: answered 503" in bad.reason
    assert (await deployer.answer("deaf"))["version"] == "one"


async def test_a_release_that_only_the_registry_misses_serves_on(deployer: Deployer) -> None:
    await deployer.live("missed", deployer.program("one"))
    good = await deployer.live("missed", deployer.program("two"))

    async def known() -> bool | None:
        return (
            any(one.pid and one.release_id == good.id for one in (await deployer.service("missed")).instances) or None
        )

    await eventually(known, 60, "the new program to be known")
    await silence(deployer, "missed", good)
    await handlers.withdraw_failing(deployer.context)
    async with deployer.context.database.read() as session:
        asked = (await session.execute(sa.select(operations.c.actor))).scalars().all()
    assert "watch" not in asked
    assert (await deployer.service("missed")).service.live_release_id == good.id


async def test_the_first_release_has_nothing_to_go_back_to(deployer: Deployer) -> None:
    only = await deployer.live("only", deployer.program("one", before=LEAVES))

    async def unwatched() -> bool | None:
        async with deployer.context.database.read() as session:
            return only.id not in {one.id for one in await Releases(session).watched()} or None

    await eventually(unwatched, 60, "its watch to be over")
    assert (await deployer.service("only")).service.live_release_id == only.id


async def test_a_withdrawn_release_is_never_gone_back_to(deployer: Deployer) -> None:
    first = await deployer.live("chain", deployer.program("one"))
    second = await withdrawn(deployer, "chain", await deployer.live("chain", deployer.program("two", before=LEAVES)))
    third = await withdrawn(deployer, "chain", await deployer.live("chain", deployer.program("three", before=LEAVES)))
    assert {second.id, third.id}.isdisjoint({(await deployer.service("chain")).service.live_release_id})
    assert (await deployer.service("chain")).service.live_release_id == first.id
    await deployer.command("chain", "rollback", release_id=str(second.id))  # a person may have it back

    async def back() -> UUID | None:
        live = (await deployer.service("chain")).service.live_release_id
        return live if live == second.id else None

    await eventually(back, 60, "the second release to serve")


async def test_without_a_window_nothing_is_rolled_back(make: Maker) -> None:
    async with make(tuning=replace(QUICK, watch_s=0)) as deployer:
        await deployer.live("unwatched", deployer.program("one"))
        bad = await deployer.live("unwatched", deployer.program("two", before=LEAVES))

        async def crashed() -> bool:
            return (await deployer.service("unwatched")).instances[0].exits > 3  # one more than a watch would bear

        await eventually(crashed, 60, "the program to have died again and again")
        await handlers.withdraw_failing(deployer.context)
        assert (await deployer.service("unwatched")).service.live_release_id == bad.id
