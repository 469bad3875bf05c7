"""A connection's time limit: one timer that outlives exchanges, whatever limits they have."""

from __future__ import annotations

import asyncio

import pytest

from algodock_common.upstream import AnswerTooLate, Connection, Origin


@pytest.fixture
async def connection() -> Connection:
    """A connection on which an exchange has begun."""
    connection = Connection(asyncio.get_running_loop(), Origin.of("http://127.0.0.1:1"))
    connection.begin(head_only=False)
    return connection


async def late(connection: Connection) -> float:
    """Wait for the limit and return the seconds that it took."""
    loop = asyncio.get_running_loop()
    begun = loop.time()
    with pytest.raises(AnswerTooLate):
        async with asyncio.timeout(60):
            await connection.head()
    return loop.time() - begun


async def test_a_shorter_limit_after_a_longer_one_holds(connection: Connection) -> None:
    connection.expect_within(60)
    connection.relax()
    connection.expect_within(0.1)
    assert 0.09 < await late(connection) < 30


async def test_a_longer_limit_after_a_shorter_one_holds(connection: Connection) -> None:
    connection.expect_within(0.05)
    connection.relax()
    connection.expect_within(0.4)
    assert await late(connection) > 0.39


async def test_a_limit_set_again_counts_anew(connection: Connection) -> None:
    connection.expect_within(0.2)
    with pytest.raises(TimeoutError):
        async with asyncio.timeout(0.15):
            await connection.head()
    connection.expect_within(0.2)
    assert await late(connection) > 0.19


async def test_without_a_limit_nothing_is_too_late(connection: Connection) -> None:
    connection.expect_within(0.05)
    connection.relax()
    with pytest.raises(TimeoutError):
        async with asyncio.timeout(0.3):
            await connection.head()
    assert not connection.lost
