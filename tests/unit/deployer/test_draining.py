"""When an old instance may end: what routers say of it, and what it means when nobody can say."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from types import SimpleNamespace
from typing import Any, cast
from uuid import uuid4

import pytest

from algodock_common.errors import Unavailable
from algodock_deployer.clients.registry import Route
from algodock_deployer.clients.routers import RouterState
from algodock_deployer.handlers import draining
from algodock_deployer.handlers.context import DrainBoard, Tuning
from algodock_deployer.handlers.draining import _let_go

AWAY = Unavailable("Redis does not answer")


class Script:
    """Says one thing after the other, and the last one for ever."""

    def __init__(self, *looks: Sequence[RouterState] | Unavailable) -> None:
        self.left = list(looks)

    async def look(self) -> Sequence[RouterState]:
        said = self.left.pop(0) if len(self.left) > 1 else self.left[0]
        if isinstance(said, Unavailable):
            raise said
        return said


class Registry:
    """Says one thing of its routes after the other, and the last one for ever."""

    def __init__(self, *answers: Sequence[Route] | Unavailable) -> None:
        self.left = list(answers)

    async def routes(self) -> tuple[int, Sequence[Route]]:
        said = self.left.pop(0) if len(self.left) > 1 else self.left[0]
        if isinstance(said, Unavailable):
            raise said
        return 9, said


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(draining, "LOOK_EVERY_S", 0.01)
    monkeypatch.setattr(draining, "ASK_REGISTRY_AFTER_S", 0.01)


def context(routers: Script, registry: Registry | None = None) -> Any:
    return SimpleNamespace(drains=DrainBoard(), routers=routers, registry=registry, tuning=Tuning(routers_wait_s=0.0))


async def test_an_instance_with_open_calls_is_not_ended_because_nobody_can_say_so_for_a_while() -> None:
    instance = cast("Any", SimpleNamespace(id=uuid4(), epoch=3))
    busy, idle = RouterState("gateway", 3, {instance.id: 1}), RouterState("gateway", 3)
    routers = Script([busy], *[AWAY] * 20, [busy], [idle])
    await _let_go(context(routers), instance, 600)
    assert routers.left == [[idle]], "it was waited for"


async def test_the_bound_ends_the_wait_when_nobody_ever_says_so() -> None:
    instance = cast("Any", SimpleNamespace(id=uuid4(), epoch=3))
    await _let_go(context(Script(AWAY)), instance, 0.1)


async def test_whose_calls_nobody_waits_for_ends_without_the_routers_word() -> None:
    instance, routers = cast("Any", SimpleNamespace(id=uuid4(), epoch=3)), Script(*[AWAY] * 3, [])
    where = context(routers)
    where.drains.hurry(instance.id)
    await _let_go(where, instance, 600)
    assert routers.left != [[]]


async def test_a_broker_that_is_away_leaves_a_drain_to_the_registrys_own_word() -> None:
    """Since when the instance drains is an event; while none comes, the registry is asked, until it knows itself."""
    instance = cast("Any", SimpleNamespace(id=uuid4(), epoch=None))
    serving, drains = (Route(instance.id, None, state, 7) for state in ("ready", "draining"))
    registry = Registry(Unavailable("the registry is away"), [serving], [drains])
    behind, there = RouterState("gateway", 6), RouterState("gateway", 7)
    routers = Script([behind], [there])
    async with asyncio.timeout(60):
        await _let_go(context(routers, registry), instance, 600)
    assert (registry.left, routers.left) == ([[drains]], [[there]])


async def test_an_instance_that_the_registry_has_forgotten_is_waited_for_by_nobody() -> None:
    instance = cast("Any", SimpleNamespace(id=uuid4(), epoch=None))
    async with asyncio.timeout(60):
        await _let_go(context(Script([RouterState("gateway", 0)]), Registry([])), instance, 600)
