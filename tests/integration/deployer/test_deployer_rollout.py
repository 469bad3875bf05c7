"""From a push to a program that serves, and every way in which that ends otherwise."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from .conftest import Deployer


async def test_a_pushed_program_serves_and_its_steps_are_written_down(deployer: Deployer) -> None:
    release = await deployer.live("first", deployer.program("one"))

    assert (await deployer.answer("first"))["version"] == "one"
    view = await deployer.service("first")
    assert (view.service.status, view.service.health) == ("running", "healthy")
    assert [step["name"] for step in release.steps] == [
        "fetch", "detect", "environment", "lease", "start", "probe", "switch",
    ]  # fmt: skip
    assert all(step["ended_at"] for step in release.steps)
    states = [event.state for event in await deployer.events("first")]
    assert states[:5] == ["queued", "building", "starting", "checking", "live"]
