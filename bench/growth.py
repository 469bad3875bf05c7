"""What a table of finished tasks, or a long queue, does to the cost of the next task."""

from __future__ import annotations

import asyncio
import json
import pathlib
import time
from typing import TYPE_CHECKING, Self

import psutil

if TYPE_CHECKING:
    from stage import Platform

__all__ = ["Owed", "cpu_s", "database_url", "fill", "settle"]

_FILL = """
INSERT INTO tasks (id, owner, algorithm, state, priority, attempt, max_attempts, expires_at, idempotency_key,
    request_hash, body, content_type, metadata, result_key, result_content_type, result_bytes, result_inline,
    result_stored_at, created_at, queued_at, claimed_at, started_at, finished_at)
SELECT id, $2, 'bench-filled', 'succeeded', 0, 1, 3, made + interval '1 day', id::text,
    decode(md5(id::text), 'hex'), '{"n":1}', 'application/json', '{}', 'tasks/' || id || '/1', 'application/json', 10,
    '{"ok":true}', made, made, made, made, made, made
FROM (
    SELECT now() - (n || ' ms')::interval AS made,
        (lpad(to_hex(floor(extract(epoch FROM now() - (n || ' ms')::interval) * 1000)::bigint), 12, '0')
            || '7' || substr(md5(n::text), 1, 3) || '8' || substr(md5(n::text), 4, 15))::uuid AS id
    FROM generate_series($1::bigint, 1, -1) AS n
) AS filled
"""


def database_url(platform: Platform) -> str:
    """Return the platform's database as its runner is told it."""
    program = pathlib.Path(platform.environment["ALGODOCK_DATA_DIR"]) / "run" / "programs" / "runner.json"
    url: str = json.loads(program.read_text())["environment"]["DATABASE_URL"]
    return url


def fill(platform: Platform, rows: int) -> None:
    """Write ``rows`` finished tasks as if they had run, and let PostgreSQL settle."""
    asyncio.run(_fill(database_url(platform), rows))


async def _fill(url: str, rows: int) -> None:
    import asyncpg

    connection = await asyncpg.connect(url, server_settings={"search_path": "runner"})
    try:
        owner = await connection.fetchval("SELECT owner FROM tasks LIMIT 1")
        await connection.execute(_FILL, rows, owner, timeout=600)
        await connection.execute("VACUUM ANALYZE tasks", timeout=600)
        await connection.execute("CHECKPOINT")
    finally:
        await connection.close()


class Owed:
    """Counts results that are still on their way to the object store, over one connection: each costs PostgreSQL."""

    _QUERY = "SELECT count(*) FROM tasks WHERE result_key IS NOT NULL AND result_stored_at IS NULL"

    def __init__(self, url: str) -> None:
        """Connect to the runner's tables."""
        import asyncpg

        self._loop = asyncio.new_event_loop()
        self._connection = self._loop.run_until_complete(
            asyncpg.connect(url, server_settings={"search_path": "runner"})
        )

    def __enter__(self) -> Self:
        """Return itself."""
        return self

    def __exit__(self, *_: object) -> None:
        """Disconnect."""
        self._loop.run_until_complete(self._connection.close())
        self._loop.close()

    def count(self) -> int:
        """Return how many there are now."""
        return int(self._loop.run_until_complete(self._connection.fetchval(self._QUERY)))


def longest_behind_s(url: str, newest: int) -> float:
    """Return by how many seconds the latest object came after its result, of the ``newest`` tasks that ended."""
    query = """
    SELECT coalesce(max(extract(epoch FROM result_stored_at - finished_at)), 0) FROM (
        SELECT result_stored_at, finished_at FROM tasks WHERE result_key IS NOT NULL ORDER BY finished_at DESC LIMIT $1
    ) AS ended
    """
    return asyncio.run(_number(url, query, newest))


async def _number(url: str, query: str, *values: int) -> float:
    import asyncpg

    connection = await asyncpg.connect(url, server_settings={"search_path": "runner"})
    try:
        return float(await connection.fetchval(query, *values))
    finally:
        await connection.close()


def cpu_s(platform: Platform) -> float:
    """Return the CPU seconds that the platform's processes and their children used so far."""
    total = 0.0
    for program in platform.programs():
        try:
            process = psutil.Process(program.pid)
            family = [process, *process.children(recursive=True)]
        except psutil.NoSuchProcess:
            continue
        for one in family:
            try:
                times = one.cpu_times()
            except psutil.NoSuchProcess:
                continue
            total += times.user + times.system + times.children_user + times.children_system
    return total


def settle(platform: Platform, *, seconds: float = 60, quiet_cores: float = 0.35) -> None:
    """Wait until the platform does little any more, ``seconds`` at most."""
    end = time.monotonic() + seconds
    before, at = cpu_s(platform), time.monotonic()
    while time.monotonic() < end:
        time.sleep(2)
        now, later = cpu_s(platform), time.monotonic()
        if (now - before) / (later - at) < quiet_cores:
            return
        before, at = now, later
