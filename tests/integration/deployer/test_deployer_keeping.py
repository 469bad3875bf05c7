"""Programs that keep ending, and programs that live and serve nobody."""

from __future__ import annotations

import asyncio
import os
import signal
from functools import partial
from typing import TYPE_CHECKING
from uuid import uuid4

import psutil
import pytest

from algodock_deployer.clients.cgroups import Cgroups
from algodock_deployer.clients.confinement import KernelConfinement
from algodock_deployer.clients.sandbox import Sandbox
from algodock_deployer.domain.programs import Limits
from algodock_deployer.repository import Timeline

from .conftest import eventually

if TYPE_CHECKING:
    from algodock_deployer.clients.processes import Seen

    from .conftest import Deployer, Maker

POISONED = "import os, sys\nif os.path.exists('poison'): sys.exit('RuntimeError: poisoned')\n"
SICK = """
import os, http.server
class Sick(http.server.BaseHTTPRequestHandler):
    def send_response(self, code, message=None):
        super().send_response(500 if os.path.exists("sick") else code, message)
http.server.BaseHTTPRequestHandler = Sick
"""


HUNGRY = """
import os, threading, time
held = []
def eat():
    while True:
        if os.path.exists("hungry"):
            held.append(bytes(os.urandom(2**20)) * 8)
        time.sleep(0.02)
threading.Thread(target=eat, daemon=True).start()
"""
LEAVES = """
import os, sys, time
if os.fork() == 0:
    os.setsid()
    if os.fork():
        os._exit(0)
    open("daemon", "w").write(str(os.getpid()))
    time.sleep(600)
"""


async def only(deployer: Deployer) -> Seen:
    return next(iter((await deployer.processes.look_all()).values()))


async def test_a_crash_loop_is_stopped_with_the_last_words_and_a_restart_ends_it(deployer: Deployer) -> None:
    release = await deployer.live("loops", deployer.program("one", before=POISONED))
    poison = deployer.context.folders.code("loops", release.id) / "poison"
    poison.touch()
    os.kill((await only(deployer)).pid, signal.SIGKILL)

    async def stopped() -> str | None:
        view = await deployer.service("loops")
        return view.service.message if "crash loop" in view.service.message else None

    message = await eventually(stopped, 90, "the crash loop to be stopped")
    assert "times in a row it exited; stopped until a restart or another release" in message
    assert "RuntimeError: poisoned" in message
    view = await deployer.service("loops")
    assert (view.service.status, view.service.health) == ("degraded", "unhealthy")
    assert not (await only(deployer)).alive
    last = (await deployer.events("loops"))[-1]
    assert (last.service_status, last.state) == ("degraded", "live")

    poison.unlink()
    await deployer.command("loops", "restart")
    await deployer.status("loops", "running")
    assert (await deployer.answer("loops"))["version"] == "one"


async def test_exits_in_a_row_make_a_pause_that_outlives_the_deployer(make: Maker) -> None:
    async with make() as first:
        await first.live("pauses", first.program("one"))
        killed: set[int] = set()
        for _ in range(3):  # each once it runs: the manager's own retries are for those that never come up

            async def running() -> int | None:
                seen = await only(first)
                one = (await first.service("pauses")).instances[0]
                known = seen.state == "RUNNING" and one.pid == seen.pid
                return seen.pid if known and seen.pid not in killed else None

            pid = await eventually(running, 60, "the program runs and is known to")
            killed.add(pid)
            os.kill(pid, signal.SIGKILL)

        async def held() -> bool | None:
            one = (await first.service("pauses")).instances[0]
            return (one.hold == "delay" and one.exits == 3 and (await only(first)).state == "STOPPED") or None

        await eventually(held, 60, "the third exit to be followed by a pause")
        assert "(3 times in a row); it is started again" in (await first.service("pauses")).service.message
        ids = first.ids
    async with make(first.registry) as second:
        second.ids = ids
        await second.status("pauses", "running", seconds=60)
        assert (await second.answer("pauses"))["version"] == "one"


async def test_a_process_that_lives_and_is_not_healthy_is_started_again(deployer: Deployer) -> None:
    files = deployer.program("one", before=SICK) | {"algodock.yaml": "timeout: 1\n"}
    release = await deployer.live("sick", files)
    before = (await only(deployer)).pid
    await asyncio.sleep(1)  # well, as the watch sees it: /health answers
    sick = deployer.context.folders.code("sick", release.id) / "sick"
    sick.touch()

    async def ended() -> bool | None:
        return (await only(deployer)).pid != before or None

    await eventually(ended, 60, "the process to be ended")
    sick.unlink()
    await deployer.status("sick", "running")

    async def again() -> bool | None:
        seen = await only(deployer)
        return (seen.alive and seen.pid != before) or None

    await eventually(again, 60, "another process to run")
    one = (await deployer.service("sick")).instances[0]
    assert "its process lived and did not answer as healthy" in one.why
    assert "GET /health: answered 500" in one.why


@pytest.mark.parametrize("wanted", [True, False])
async def test_a_program_past_its_memory_is_started_again_with_that_reason(make: Maker, wanted: bool) -> None:  # noqa: FBT001
    """With control groups, where the machine has some, and by watching."""
    name = f"hungry-{wanted}".lower()
    cgroups = Cgroups(f"test-{uuid4().hex[:8]}", wanted=wanted)
    confinement = KernelConfinement(cgroups, Sandbox(61200, wanted=False))
    async with make(confinement=confinement) as deployer:
        manifest = {"algodock.yaml": "resources: {memory: 128Mi}\n"}
        release = await deployer.live(name, deployer.program("one", before=HUNGRY) | manifest)
        await eventually(partial(_known, deployer, name), 60, "the program to be known")
        hungry = deployer.context.folders.code(name, release.id) / "hungry"
        before = (await only(deployer)).pid
        hungry.touch()

        async def again() -> bool | None:
            return (await only(deployer)).pid != before or None

        await eventually(again, 60, "another process to run")
        hungry.unlink()

        async def told() -> str | None:
            message = (await deployer.service(name)).service.message
            return message if "128 MiB" in message else None

        message = await eventually(told, 60, "the reason to be told")
        assert "its memory reached the limit" in message or "its memory went past the limit" in message
        await deployer.status(name, "running")
        assert (await deployer.answer(name))["version"] == "one"
        async with deployer.context.database.read() as session:
            told_of = await Timeline(session).of(deployer.ids[name], limit=9)
        assert [one.actor for one in told_of if one.kind == "restarted" and "128 MiB" in one.detail] == ["deployer"]
        for group in cgroups.groups("x", Limits()):
            cgroups.clear((await deployer.service(name)).instances[0].program)
            group.folder.parent.rmdir()


async def _known(deployer: Deployer, name: str) -> bool | None:
    return bool((await deployer.service(name)).instances[0].pid) or None


async def test_a_daemon_that_a_program_left_is_ended_with_it(make: Maker) -> None:
    confinement = KernelConfinement(Cgroups("unused", wanted=False), Sandbox(61200, wanted=False))
    async with make(confinement=confinement) as deployer:
        release = await deployer.live("daemon", deployer.program("one", before=LEAVES))
        daemon = int((deployer.context.folders.code("daemon", release.id) / "daemon").read_text())
        assert psutil.pid_exists(daemon)
        await deployer.command("daemon", "stop")

        async def drained() -> bool | None:
            await deployer.drains()
            return (await deployer.service("daemon")).service.status == "stopped" or None

        await eventually(drained, 60, "the service to be stopped")

        async def gone() -> bool | None:
            return not psutil.pid_exists(daemon) or psutil.Process(daemon).status() == psutil.STATUS_ZOMBIE or None

        await eventually(gone, 60, "the daemon to be gone")
