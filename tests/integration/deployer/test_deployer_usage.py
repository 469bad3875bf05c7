"""What instances use of the machine, told of real processes."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from algodock_deployer import handlers
from algodock_deployer.domain.errors import ServiceNotFound

from .conftest import eventually

if TYPE_CHECKING:
    from algodock_deployer.clients.usage import Usage

    from .conftest import Deployer

BUSY = """
import subprocess, sys, threading
subprocess.Popen([sys.executable, "-c", "import time; held = b'x' * 50_000_000; time.sleep(600)"])
def spin():
    while True: sum(range(1000))
threading.Thread(target=spin, daemon=True).start()
"""


async def test_an_instance_is_measured_with_all_that_it_started(deployer: Deployer) -> None:
    await deployer.live("busy", deployer.program("one", before=BUSY))

    async def look() -> Usage | None:
        _, [(instance, used)] = await handlers.usage_of(deployer.context, "busy")
        assert instance.phase == "serving"
        # The process that it starts needs a moment to have begun, and the spinning one a core.
        return used if used and used.processes >= 2 and used.memory > 50_000_000 and used.cpu > 0 else None

    used = await eventually(look, 60, "both processes to be measured")
    assert used.files
    assert used.threads >= 3


async def test_a_program_that_does_not_run_uses_nothing_and_an_unknown_service_is_not_found(deployer: Deployer) -> None:
    await deployer.live("ended", deployer.program("one"))
    await deployer.processes.stop((await deployer.service("ended")).instances[0].program)
    _, found = await handlers.usage_of(deployer.context, "ended")
    assert [used for _, used in found] == [None]
    with pytest.raises(ServiceNotFound):
        await handlers.usage_of(deployer.context, "nobody")
