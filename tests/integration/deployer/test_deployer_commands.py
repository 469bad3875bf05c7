"""Start, stop, restart, remove, roll back; and what the deployer does when something was killed."""

from __future__ import annotations

import asyncio
import os
import signal
import subprocess
import sys
from dataclasses import replace
from typing import TYPE_CHECKING
from uuid import uuid4

import psutil
import pytest

from algodock_common.events import Event, InstanceChanged, ServiceCommand
from algodock_common.identifiers import uuid7
from algodock_deployer import handlers
from algodock_deployer.clients.carriers import BUILD
from algodock_deployer.clients.fakes import FakeRegistry
from algodock_deployer.clients.routers import RouterState
from algodock_deployer.domain.errors import ServiceNotFound

from .conftest import eventually

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from algodock_deployer.domain.releases import Instance
    from algodock_deployer.handlers import ServiceView

    from .conftest import Deployer, Maker


async def _settled(deployer: Deployer) -> None:
    """Wait until something drains, then say of everything that drains that it does, until there is nothing left."""
    async with asyncio.timeout(60):
        while not await deployer._draining():  # noqa: ASYNC110  # rows tell nobody that they came
            await asyncio.sleep(0.05)
        while await deployer._draining():
            await deployer.drains()
            await asyncio.sleep(0.1)


async def test_a_stopped_service_is_stopped_only_when_every_router_has_dropped_it(deployer: Deployer) -> None:
    await deployer.live("stops", deployer.program("one"))
    instance = (await deployer.service("stops")).instances[0]
    deployer.routers.states = [RouterState("gateway", 0)]
    await deployer.command("stops", "stop")
    await deployer.status("stops", "stopping")
    await asyncio.sleep(0.3)
    await deployer.drains()
    await asyncio.sleep(0.5)
    assert (await deployer.service("stops")).service.status == "stopping", "a router has not seen it yet"
    assert instance.program in await deployer.processes.look_all()

    epoch = deployer.registry.epoch
    deployer.routers.states = [RouterState("gateway", epoch, {instance.id: 1})]
    await asyncio.sleep(0.5)
    assert instance.program in await deployer.processes.look_all(), "a call is still open"
    deployer.routers.states = [RouterState("gateway", epoch, {instance.id: 0})]
    await deployer.status("stops", "stopped")
    assert instance.program not in await deployer.processes.look_all()
    assert not deployer.registry.leases
    last = (await deployer.events("stops"))[-1]
    assert (last.service_status, last.serving) == ("stopped", False)


async def test_a_call_that_never_ends_holds_a_drain_no_longer_than_its_bound(deployer: Deployer) -> None:
    await deployer.live("holds", deployer.program("one") | {"algodock.yaml": "timeout: 1\n"})
    deployer.routers.states = [RouterState("gateway", 0)]
    await deployer.command("holds", "stop")
    await deployer.status("holds", "stopped", seconds=60)


async def test_an_instance_that_is_to_be_replaced_is_ended_with_its_open_calls(deployer: Deployer) -> None:
    await deployer.live("stuck", deployer.program("one") | {"algodock.yaml": "timeout: 300\n"})
    old = (await deployer.service("stuck")).instances[0]
    await deployer.command("stuck", "restart", instance_id=str(uuid4()))  # gone long ago: nothing to do
    await deployer.command("stuck", "restart", instance_id=str(old.id), reason="it goes on")

    async def switched() -> bool | None:
        return old.id in await deployer._draining() or None

    await eventually(switched, 60, "the old instance does not drain")
    await deployer.drains()
    epoch = deployer.registry.epoch
    deployer.routers.states = [RouterState("gateway", epoch - 1), RouterState("worker", epoch, {old.id: 1})]
    await asyncio.sleep(0.3)
    assert old.program in await deployer.processes.look_all(), "a router may still send calls to it"
    deployer.routers.states = [RouterState("gateway", epoch), RouterState("worker", epoch, {old.id: 1})]

    async def ended() -> bool | None:
        return old.program not in await deployer.processes.look_all() or None

    await eventually(ended, 60, "the old instance still runs")
    new = (await deployer.service("stuck")).instances
    assert [one.phase for one in new] == ["serving"]
    assert new[0].id != old.id
    assert (await deployer.answer("stuck"))["version"] == "one"


async def test_a_stopped_service_starts_again(deployer: Deployer) -> None:
    release = await deployer.live("starts", deployer.program("one"))
    await deployer.command("starts", "stop")
    await asyncio.gather(deployer.status("starts", "stopped"), _settled(deployer))
    await deployer.command("starts", "start")
    view = await deployer.status("starts", "running")
    assert view.release
    assert view.release.id == release.id
    assert (await deployer.answer("starts"))["version"] == "one"


async def test_a_restart_puts_a_new_instance_beside_the_old_one(deployer: Deployer) -> None:
    await deployer.live("again", deployer.program("one"))
    before = (await deployer.service("again")).instances[0]
    await deployer.command("again", "restart")

    async def another() -> Sequence[Instance] | None:
        found = (await deployer.service("again")).instances
        return found if found and found[0].id != before.id else None

    after = await eventually(another, 60, "another instance to serve")
    assert after[0].port != before.port
    assert after[0].program != before.program
    assert (await deployer.answer("again"))["version"] == "one"
    await _settled(deployer)
    await deployer.gone(before.base_url)
    assert (await deployer.service("again")).service.status == "running"


async def test_a_rollback_serves_the_release_before(deployer: Deployer) -> None:
    first = await deployer.live("rolls", deployer.program("one"))
    second = await deployer.live("rolls", deployer.program("two"))
    await _settled(deployer)
    await deployer.command("rolls", "rollback")
    await deployer.release("rolls", first.commit, "live")
    assert (await deployer.answer("rolls"))["version"] == "one"
    await deployer.command("rolls", "rollback", release_id=str(second.id))
    await deployer.release("rolls", second.commit, "live")
    assert (await deployer.answer("rolls"))["version"] == "two"


async def test_a_rollback_to_what_never_was_changes_nothing_and_says_why(deployer: Deployer) -> None:
    await deployer.live("never", deployer.program("one"))
    await deployer.command("never", "rollback", release_id=str(uuid4()))

    async def said() -> ServiceView | None:
        found = await deployer.service("never")
        return found if found.service.message else None

    view = await eventually(said, 60, "the refusal to be said")
    assert "rollback: never has no release" in view.service.message
    assert view.service.status == "running"


async def test_a_removed_service_is_gone_with_its_names_and_a_push_brings_it_back(
    deployer: Deployer, root: Path
) -> None:
    await deployer.live("leaves", deployer.program("one"))
    await deployer.command("leaves", "remove")
    await _settled(deployer)

    async def nameless() -> bool | None:
        return not (root / "services" / "logs" / "leaves_error.log").is_symlink() or None

    await eventually(nameless, 60, "its names to be gone")
    with pytest.raises(ServiceNotFound):
        await deployer.service("leaves")
    assert not (root / "services" / "leaves" / "current").is_symlink()
    assert not (root / "services" / "logs" / "leaves.log").is_symlink()
    await deployer.live("leaves", deployer.program("two"))
    assert (await deployer.answer("leaves"))["version"] == "two"


async def test_a_repeated_command_is_done_once(deployer: Deployer) -> None:
    await deployer.live("once", deployer.program("one"))
    command = ServiceCommand(
        operation_id=uuid7(), algorithm_id=deployer.ids["once"], algorithm="once", action="restart"
    )
    before = deployer.registry.epoch, len(deployer.registry.leases)
    for _ in range(3):
        await handlers.take_command(deployer.context, Event.of(command, source="/test"))

    async def done() -> bool | None:
        return len(deployer.registry.leases) > before[1] or None

    await eventually(done, 60, "the restart to be done")
    await asyncio.sleep(1.5)  # time for another
    assert len(deployer.registry.leases) == before[1] + 1, "one more instance; the old one drains"


async def test_a_pinned_port_is_handed_from_the_old_release_to_the_new(deployer: Deployer) -> None:
    port = 19_000 + os.getpid() % 1_000
    pinned = {"algodock.yaml": f"port: {port}\n"}
    await deployer.live("pinned", deployer.program("one") | pinned)
    push = asyncio.create_task(deployer.live("pinned", deployer.program("two") | pinned))
    while not push.done():
        await deployer.drains()
        await asyncio.sleep(0.1)
    await push
    assert (await deployer.service("pinned")).instances[0].port == port
    assert (await deployer.answer("pinned"))["version"] == "two"


async def test_what_was_stopped_for_a_release_that_fails_is_brought_back(deployer: Deployer) -> None:
    recreate = {"algodock.yaml": "strategy: recreate\n"}
    await deployer.live("returns", deployer.program("one") | recreate)
    commit = await deployer.push("returns", {"main.py": "raise ValueError('no')"} | recreate)
    wait = asyncio.create_task(deployer.release("returns", commit, "failed"))
    while not wait.done():
        await deployer.drains()
        await asyncio.sleep(0.1)
    assert "ValueError: no" in (await wait).reason
    assert (await deployer.answer("returns"))["version"] == "one"
    assert (await deployer.service("returns")).service.status == "running"


async def test_a_deployer_that_was_killed_in_the_middle_takes_the_release_up_again(make: Maker) -> None:
    registry = FakeRegistry()
    async with make(registry) as first:
        files = first.program("one") | {"algodock.yaml": "build: sleep 3\n"}
        commit = await first.push("resumes", files)
        release = await first.release("resumes", commit, "building")
        ids, store = first.ids, first.store
        left = first.context.folders.build_log(release.id)
    # What a SIGKILL leaves of a build: it would go on writing into the code that is built anew.
    carried = {BUILD: str(left)}
    orphan = await asyncio.create_subprocess_exec("/bin/sleep", "300", env=carried, start_new_session=True)
    async with make(registry) as second:
        second.ids, second.store.__dict__ = ids, store.__dict__
        release = await second.release("resumes", commit, "live", "failed")
        assert release.state == "live", release.reason
        assert len(registry.leases) == 1
    async with asyncio.timeout(60):
        assert await orphan.wait() == -signal.SIGKILL


async def test_a_lease_that_a_crash_left_without_a_row_is_freed_by_the_next_release(deployer: Deployer) -> None:
    release = await deployer.live("orphaned", deployer.program("one"))
    serving = next(iter(deployer.registry.leases))
    request = deployer.registry.leases[serving]
    orphan = await deployer.registry.lease(replace(request, index=2))
    elsewhere = await deployer.registry.lease(replace(request, node_id="another"))
    await deployer.live("orphaned", deployer.program("two"))
    assert orphan.instance_id not in deployer.registry.leases
    assert {serving, elsewhere.instance_id} <= set(deployer.registry.leases)
    assert request.release_id == release.id


async def test_a_deployer_that_comes_back_finds_its_programs_running(make: Maker) -> None:
    registry = FakeRegistry()
    async with make(registry) as first:
        await first.live("stays", first.program("one"))
        pid = next(iter((await first.processes.look_all()).values())).pid
    async with make(registry) as second:
        await asyncio.sleep(1.5)
        assert next(iter((await second.processes.look_all()).values())).pid == pid
        assert (await second.answer("stays"))["version"] == "one"


async def test_a_killed_program_is_revived_by_supervisord(deployer: Deployer) -> None:
    await deployer.live("killed", deployer.program("one"))
    pid = next(iter((await deployer.processes.look_all()).values())).pid
    await asyncio.sleep(1.2)
    os.kill(pid, signal.SIGKILL)

    async def revived() -> bool | None:
        seen = next(iter((await deployer.processes.look_all()).values()))
        return (seen.alive and seen.pid not in {0, pid}) or None

    await eventually(revived, 60, "another process to run")
    assert (await deployer.answer("killed"))["version"] == "one"


async def test_a_killed_supervisord_comes_back_with_its_programs(deployer: Deployer, root: Path) -> None:
    await deployer.live("orphans", deployer.program("one"))
    pid = next(iter((await deployer.processes.look_all()).values())).pid
    os.kill(int((root / "algorithms" / "supervisord.pid").read_text()), signal.SIGKILL)

    async def ended() -> bool | None:
        return not psutil.pid_exists(pid) or None

    await eventually(ended, 60, "what the killed one left to be ended")
    assert (await deployer.answer("orphans"))["version"] == "one"


async def test_a_program_that_keeps_dying_makes_the_service_degraded_with_its_last_words(deployer: Deployer) -> None:
    dies = "import os, sys\nif os.path.exists('poison'): sys.exit('RuntimeError: poisoned')\n"
    release = await deployer.live("dies", deployer.program("one", before=dies))
    await asyncio.sleep(1.2)
    (deployer.context.folders.code("dies", release.id) / "poison").touch()
    os.kill(next(iter((await deployer.processes.look_all()).values())).pid, signal.SIGKILL)
    view = await deployer.status("dies", "degraded")
    assert "RuntimeError: poisoned" in view.service.message
    last = (await deployer.events("dies"))[-1]
    assert (last.service_status, last.state, len(last.instances)) == ("degraded", "live", 1)


async def test_a_silent_instance_makes_the_service_degraded_and_a_sign_of_life_running(deployer: Deployer) -> None:
    release = await deployer.live("silent", deployer.program("one"))
    instance = (await deployer.service("silent")).instances[0]

    async def say(state: str, sequence: int) -> None:
        data = InstanceChanged(
            instance_id=instance.id, algorithm_id=deployer.ids["silent"], algorithm="silent", node_id="n",
            host=instance.host, port=instance.port, base_url=instance.base_url, release_id=release.id,
            state=state, epoch=sequence,
        )  # fmt: skip
        event = Event.of(data, source="/registry").model_copy(update={"sequence": sequence})
        await handlers.take_instance(deployer.context, event)

    await say("silent", 5)
    assert (await deployer.service("silent")).service.status == "degraded"
    await say("ready", 6)
    assert (await deployer.service("silent")).service.status == "running"
    await say("silent", 5)
    assert (await deployer.service("silent")).service.status == "running", "what is older is dropped"


async def test_supervisorctl_knows_the_programs_by_their_group(deployer: Deployer, root: Path) -> None:
    await deployer.live("byhand", deployer.program("one"))
    program = (await deployer.service("byhand")).instances[0].program

    async def ctl(*words: str) -> str:
        argv = [sys.executable, "-m", "supervisor.supervisorctl", "-c", str(root / "algorithms" / "supervisord.conf")]
        done = await asyncio.to_thread(subprocess.run, [*argv, *words], capture_output=True, text=True, check=False)
        return done.stdout + done.stderr

    assert f"ai-services:{program}" in await ctl("status")
    await ctl("stop", "ai-services:*")
    view = await deployer.status("byhand", "degraded")
    assert "supervisorctl" in view.service.message
    await ctl("start", "ai-services:*")
    await deployer.status("byhand", "running")
    assert "serving one" in await ctl("tail", f"ai-services:{program}")
