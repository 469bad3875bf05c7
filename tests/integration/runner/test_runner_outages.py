"""PostgreSQL restarted in an awkward moment: whoever was at it goes on, and nothing is done twice or lost."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

import asyncpg
import pytest

from algodock_runner.handlers import reconcile
from algodock_runner.repository import fence, sweep
from algodock_runner.repository.claim import claim

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from .conftest import Platform

AWAY = [
    asyncpg.AdminShutdownError("terminating connection due to administrator command"),
    asyncpg.CrashShutdownError("terminating connection because of crash of another server process"),
    asyncpg.CannotConnectNowError("the database system is starting up"),
    ConnectionResetError("connection lost"),
]
PASSING = [*AWAY, asyncpg.DeadlockDetectedError("deadlock detected")]
ANY = [AWAY[0], RuntimeError("a bug")]


def named(error: Exception) -> str:
    return type(error).__name__


def failing_first(error: Exception, then: Callable[..., Awaitable[Any]]) -> tuple[Callable[..., Any], list[int]]:
    """Return a function that raises twice before it does what ``then`` does, and its calls."""
    calls: list[int] = []

    async def flaky(*given: Any, **named_: Any) -> Any:
        calls.append(len(calls))
        if len(calls) <= 2:
            raise error
        return await then(*given, **named_)

    return flaky, calls


@pytest.mark.parametrize("error", PASSING, ids=named)
async def test_an_outcome_is_written_when_postgresql_is_back_and_the_work_is_not_done_again(
    platform: Platform, monkeypatch: pytest.MonkeyPatch, error: Exception
) -> None:
    flaky, calls = failing_first(error, fence.end)
    monkeypatch.setattr(fence, "end", flaky)
    platform.route()
    async with platform.worker():
        view = await platform.submit(input=1, max_attempts=1)
        seen = await platform.ended(view.id)
    assert (seen.state, seen.attempt) == ("succeeded", 1)
    assert len(calls) == 3
    assert len(platform.algorithm.calls) == 1
    assert len(await platform.emitted("task.finished")) == 1


@pytest.mark.parametrize("error", ANY, ids=named)
async def test_a_worker_whose_claim_failed_looks_again(
    platform: Platform, monkeypatch: pytest.MonkeyPatch, error: Exception
) -> None:
    flaky, _ = failing_first(error, claim)
    monkeypatch.setattr("algodock_runner.handlers.pool.claim", flaky)
    monkeypatch.setattr("algodock_runner.handlers.pool.LOOK_EVERY_S", 0.1)
    platform.route()
    async with platform.worker():
        view = await platform.submit(input=1, max_attempts=1)
        assert (await platform.ended(view.id)).state == "succeeded"


@pytest.mark.parametrize("error", ANY, ids=named)
async def test_a_reconciler_whose_round_failed_makes_the_next_one_and_rings_again(
    platform: Platform, monkeypatch: pytest.MonkeyPatch, error: Exception
) -> None:
    flaky, _ = failing_first(error, sweep.wake)
    monkeypatch.setattr(sweep, "wake", flaky)
    monkeypatch.setattr(reconcile, "TICK_S", 0.05)
    later = await platform.submit(input=1, not_before=datetime.now(UTC) + timedelta(seconds=0.3))
    await platform.submit(algorithm="slow", input=1)

    async def rung() -> bool:
        return "slow" in platform.broker.rung

    await platform.eventually(rung)
    platform.broker.rung.clear()  # a broker that lost it
    await platform.reconciler.start()
    try:
        await platform.until(later.id, "queued")
        await platform.eventually(rung)
    finally:
        await platform.reconciler.stop()
