"""What a task costs does not grow with the tasks that ended: its statements read by index, also as first planned."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from algodock_common.database import Database
from algodock_common.database.statements import positional
from algodock_runner.repository import claim, fence, lease, results

if TYPE_CHECKING:
    import sqlalchemy as sa

    from algodock_common.settings import DatabaseSettings

    from .conftest import Platform

STATEMENTS = {
    "claim": claim._CLAIM,
    "end": fence._END,
    "give back": fence._GIVE_BACK,
    "renew": lease._RENEW,
    "cancel requests": lease._CANCEL_REQUESTS,
    "unstored": results._UNSTORED,
    "stored": results._STORED,
}


async def plan_of(db: Database, statement: sa.TextClause) -> str:
    """Return the plan that PostgreSQL keeps for a connection's life."""
    query, names = positional(statement)
    pooled = await db.engine.raw_connection()
    driver = pooled.driver_connection
    assert driver is not None
    try:
        await driver.execute("SET plan_cache_mode = force_generic_plan")
        await driver.execute(f"PREPARE planned AS {query}")
        given = ", ".join(["NULL"] * len(names))
        rows = await driver.fetch(f"EXPLAIN EXECUTE planned({given})")
        await driver.execute("DEALLOCATE planned; RESET plan_cache_mode")
        return "\n".join(row[0] for row in rows)
    finally:
        pooled.close()


@pytest.mark.parametrize("name", STATEMENTS)
async def test_a_plan_made_while_the_table_is_empty_serves_a_million_rows(
    platform: Platform, database_settings: DatabaseSettings, name: str
) -> None:
    db = Database(database_settings, schema="runner", source="/plans", indexed=True)
    try:
        plan = await plan_of(db, STATEMENTS[name])
    finally:
        await db.stop()
    assert "Index" in plan
    assert "Seq Scan on tasks" not in plan, plan
    assert await platform.rows("SELECT 1 FROM tasks") == []
