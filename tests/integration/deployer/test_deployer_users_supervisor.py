"""Services under a supervisord that the user runs: it is killed and started again, and they come back."""

from __future__ import annotations

import os
import signal
from contextlib import suppress
from typing import TYPE_CHECKING

import psutil

from algodock_cli.stack import algorithm_supervisor
from algodock_deployer.clients.users_supervisor import UsersSupervisorDriver
from tests.outside.supervisord import UsersSupervisord

from .conftest import eventually

if TYPE_CHECKING:
    from pathlib import Path

    from .conftest import Maker


async def test_services_come_back_after_it_was_killed_and_an_orphans_port_is_no_crash(
    make: Maker, root: Path, tmp_path: Path
) -> None:
    users = UsersSupervisord(tmp_path)
    await users.start()
    left = await users.programs()
    driver = UsersSupervisorDriver(root / "algorithms", users.programs_folder, users.url)
    try:
        async with make(processes=driver) as deployer:
            await deployer.live("theirs", deployer.program("one"))

            async def known() -> int | None:
                return (await deployer.service("theirs")).instances[0].pid or None

            orphan = await eventually(known, 60, "its process to be known")
            users.kill()
            assert (await deployer.answer("theirs"))["version"] == "one", "it serves on"
            await users.start()
            again = await users.programs()

            async def back() -> bool:
                one = (await deployer.service("theirs")).instances[0]
                seen = (await deployer.processes.look_all()).get(one.program)
                return seen is not None and seen.state == "RUNNING" and one.pid == seen.pid != orphan

            await eventually(back, 120, "another process of it to run under the new one")
            assert not psutil.pid_exists(orphan), "the one that nobody managed was ended"
            await deployer.status("theirs", "running", seconds=60)
            assert (await deployer.answer("theirs"))["version"] == "one"
            assert (await deployer.service("theirs")).instances[0].exits == 0, "none of it counts as a crash"
            assert await users.programs() == again, "what the user runs there was never touched"
        assert algorithm_supervisor.end_programs(root / "algorithms"), "`down` ends it there"
        assert not algorithm_supervisor.end_programs(root / "algorithms")
        assert await driver.look_all() == {}
        assert [path.name for path in users.programs_folder.iterdir()] == ["web.conf"]
        assert await users.programs() == again
    finally:
        users.end()
        for pid in left.values():
            with suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
