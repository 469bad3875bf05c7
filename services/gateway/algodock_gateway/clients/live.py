"""Tasks' live streams in Redis, as gateways read them: never waited for long, and nothing when Redis is away."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any, Final, Protocol

import structlog
from prometheus_client import Counter
from pydantic_core import from_json
from redis.exceptions import RedisError

from algodock_common.task_stream import progress_key, stream_key
from algodock_gateway.domain.task_events import Spoken

if TYPE_CHECKING:
    from uuid import UUID

    from redis.asyncio import Redis

__all__ = ["Live", "RedisLive"]

log = structlog.get_logger()

TIMEOUT_S: Final = 1.0
AT_ONCE: Final = 200
CONNECTIONS: Final = 16

FAILED = Counter("algodock_task_stream_reads_failed_total", "Reads of live streams that Redis did not answer")


class Live(Protocol):
    """What running algorithms say."""

    async def entries(self, task_id: UUID, *, after: str) -> list[Spoken]:
        """Return what was said behind entry ``after``, oldest first; some, when it is very much."""
        ...

    async def progress(self, task_id: UUID) -> Any:
        """Return the last progress that was said, None when there is none."""
        ...


class RedisLive:
    """The streams that the workers write."""

    def __init__(self, redis: Redis) -> None:
        """Keep the client; nothing is sent."""
        self._redis = redis
        self._at_once = asyncio.Semaphore(CONNECTIONS)
        self._away = False

    async def entries(self, task_id: UUID, *, after: str) -> list[Spoken]:
        """Read the stream's next part; nothing while Redis is away."""
        key = stream_key(task_id)
        try:
            async with self._at_once, asyncio.timeout(TIMEOUT_S):
                found: Any = await self._redis.xread({key: after}, count=AT_ONCE)
        except (RedisError, OSError) as error:
            self._failed(error)
            return []
        self._away = False
        return [_entry(id_, fields) for _, rows in found for id_, fields in rows]

    async def progress(self, task_id: UUID) -> Any:
        """Read the last progress; None while Redis is away."""
        try:
            async with self._at_once, asyncio.timeout(TIMEOUT_S):
                found = await self._redis.get(progress_key(task_id))
        except (RedisError, OSError) as error:
            self._failed(error)
            return None
        self._away = False
        return None if found is None else from_json(found)

    def _failed(self, error: Exception) -> None:
        FAILED.inc()
        if not self._away:
            log.warning("task_streams_not_read", error=repr(error))
        self._away = True


def _entry(id_: bytes, fields: dict[bytes, bytes]) -> Spoken:
    data = fields[b"data"].decode().replace("\n", " ")
    return Spoken(id_.decode(), fields[b"kind"].decode(), int(fields[b"attempt"]), data)
