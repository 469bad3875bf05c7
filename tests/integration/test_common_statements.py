"""Statements that are transactions of their own: on the pool's connections, also after PostgreSQL closed them."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator

import asyncpg
import pytest
import sqlalchemy as sa

from algodock_common.database import Database
from algodock_common.outages import is_infrastructure
from algodock_common.settings import DatabaseSettings

ADD = sa.text("SELECT CAST(:a AS int) + CAST(:b AS int) AS sum, CAST(:a AS int) AS a, CAST(:doc AS jsonb) AS doc")
BACKENDS = sa.text("SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE application_name = 'algodock/single'")
# Not what connects and asks for its schema: that breaks as well, but is not the statement that the test is about.
SLEEPERS = sa.text(BACKENDS.text + " AND state = 'active' AND query LIKE 'SELECT pg_sleep%'")
ME = sa.text("SELECT pg_backend_pid() AS pid")


@pytest.fixture
async def database(database_settings: DatabaseSettings) -> AsyncIterator[Database]:
    one = Database(database_settings, schema="public", source="/single")
    yield one
    await one.stop()


async def test_values_are_given_by_name_and_documents_are_read(database: Database) -> None:
    (row,) = await database.fetch(ADD, {"a": 1, "b": 2, "doc": '{"x": [1]}'})
    assert (row["sum"], row["a"], row["doc"]) == (3, 1, {"x": [1]})
    async with database.transaction() as tx:
        (row,) = await tx.fetch(ADD, {"a": 1, "b": 2, "doc": "null"})
        assert (row["sum"], row["doc"]) == (3, None)
        assert await tx.fetch(sa.text("SET LOCAL timezone = 'UTC'"), {}) == []


async def test_a_connection_that_was_closed_in_the_pool_is_replaced(
    database: Database, database_settings: DatabaseSettings
) -> None:
    before = (await database.fetch(ME, {}))[0]["pid"]
    other = Database(database_settings, schema="public", source="/other")
    await other.fetch(BACKENDS, {})
    await asyncio.sleep(0.1)  # the close arrives
    assert (await database.fetch(ME, {}))[0]["pid"] != before
    await other.stop()


async def test_a_connection_that_breaks_under_a_statement_is_an_outage_and_the_next_one_works(
    database: Database, database_settings: DatabaseSettings
) -> None:
    other = Database(database_settings, schema="public", source="/other")
    waiting = asyncio.create_task(database.fetch(sa.text("SELECT pg_sleep(30)"), {}))
    async with asyncio.timeout(60):
        while not await other.fetch(SLEEPERS, {}):  # noqa: ASYNC110  # until it is there to be ended
            await asyncio.sleep(0.02)
    # The last: asyncpg had read that it is over, and not yet sent the statement itself.
    with pytest.raises((asyncpg.PostgresError, asyncpg.InterfaceError, OSError, asyncpg.InternalClientError)) as failed:
        await waiting
    assert is_infrastructure(failed.value)
    assert await database.fetch(ME, {})
    await other.stop()


async def test_a_statement_that_was_cancelled_leaves_a_connection_that_works(database: Database) -> None:
    with pytest.raises(TimeoutError):
        async with asyncio.timeout(0.1):
            await database.fetch(sa.text("SELECT pg_sleep(30)"), {})
    assert [row["sum"] for row in await database.fetch(ADD, {"a": 2, "b": 2, "doc": "1"})] == [4]


async def test_a_refused_statement_is_no_outage_and_changes_nothing(database: Database) -> None:
    with pytest.raises(asyncpg.DivisionByZeroError) as failed:
        await database.fetch(sa.text("SELECT 1 / CAST(:zero AS int)"), {"zero": 0})
    assert not is_infrastructure(failed.value)
    assert await database.fetch(ME, {})
