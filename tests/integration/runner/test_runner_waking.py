"""Tasks for services that sleep: the worker asks for each that has tasks due and no instance."""

from __future__ import annotations

from typing import TYPE_CHECKING

from algodock_runner.clients.wakes import FakeWakes
from algodock_runner.handlers.waking import TaskWaking

if TYPE_CHECKING:
    from .conftest import Platform


async def test_what_has_tasks_due_and_no_instance_is_woken_once(platform: Platform) -> None:
    wakes, routed = FakeWakes(), False
    waking = TaskWaking(platform.db, platform.table, wakes, routed=lambda: routed)
    platform.route("other")
    for name in ("echo", "echo", "slow", "other"):
        await platform.submit(algorithm=name)
    await waking.look()
    assert not wakes.asked, "before the routes are known nobody sleeps"
    routed = True
    await waking.look()
    await waking.look()
    assert sorted(wakes.asked) == ["echo", "slow"]


async def test_tasks_that_are_not_due_wake_nobody(platform: Platform) -> None:
    wakes = FakeWakes()
    await platform.submit(not_before="2999-01-01T00:00:00Z", deadline="2999-01-02T00:00:00Z")
    await TaskWaking(platform.db, platform.table, wakes, routed=lambda: True).look()
    assert not wakes.asked
