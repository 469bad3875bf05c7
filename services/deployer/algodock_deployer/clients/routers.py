"""What every router (gateways, workers) says of itself in Redis: the epoch it has applied, and open calls.

A Redis that was just started, emptied or out of reach knows of no router, or of some only, until each has
written again. So a mark lies beside their keys: while it is younger than the time in which every router writes,
nobody is told what is there. (``docs/decisions/0047``.)
"""

from __future__ import annotations

import asyncio
import contextlib
import json
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Final, Protocol
from uuid import UUID

import structlog
from redis.exceptions import RedisError

from algodock_common.errors import Unavailable
from algodock_common.routing.feed import ROUTER_KEY

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from redis.asyncio import Redis

__all__ = ["RedisRouters", "RedisSeat", "RouterState", "Routers", "Seat"]

log = structlog.get_logger()

PATTERN = f"{ROUTER_KEY}*"
SEAT_S = 10
MARK: Final = "algodock:routers-known"
SETTLE_S: Final = 5.0
"""Seconds in which every router has written its key: it does every two, and at once when something moves."""

_AGE: Final = """
local time = redis.call('TIME')
local now = time[1] * 1000 + math.floor(time[2] / 1000)
redis.call('SET', KEYS[1], string.format('%d', now), 'NX')
return now - tonumber(redis.call('GET', KEYS[1]))
"""


@dataclass(frozen=True)
class RouterState:
    """One router: ``in_flight`` counts its open calls to draining instances."""

    router: str
    epoch: int
    in_flight: Mapping[UUID, int] = field(default_factory=dict)

    def let_go(self, instance_id: UUID, epoch: int) -> bool:
        """Return whether it sends nothing more to the instance and waits for nothing of it."""
        return self.epoch >= epoch and self.in_flight.get(instance_id, 0) == 0


class Seat(Protocol):
    """A router of the deployer's own: what it has applied is said beside the others."""

    async def say(self, epoch: int, draining: Mapping[UUID, int]) -> None:
        """Say which epoch is applied, and how much is open to draining instances; holds for ten seconds.

        Raises:
            Unavailable: Redis does not answer.
        """
        ...

    async def leave(self) -> None:
        """Take it back: nobody waits for this router any more; does not raise."""
        ...


class Routers(Protocol):
    """Reads the routers' states."""

    async def look(self) -> Sequence[RouterState]:
        """Return every router that is alive.

        Raises:
            Unavailable: Redis does not answer, or may not have heard of every router yet.
        """
        ...


class RedisSeat:
    """``Seat`` as one of the keys that ``RedisRouters`` reads."""

    def __init__(self, redis: Redis, router: str) -> None:
        """Write through ``redis`` under the router's name."""
        self._redis = redis
        self._key = ROUTER_KEY + router

    async def say(self, epoch: int, draining: Mapping[UUID, int]) -> None:
        """Write the key."""
        value = json.dumps({"epoch": epoch, "draining": {str(key): count for key, count in draining.items()}})
        try:
            await self._redis.set(self._key, value, ex=SEAT_S)
        except (RedisError, OSError) as error:
            msg = f"Redis does not answer: {error!r}"
            raise Unavailable(msg) from error

    async def leave(self) -> None:
        """Remove the key; it expires by itself where that fails."""
        with contextlib.suppress(RedisError, OSError):
            await self._redis.delete(self._key)


class RedisRouters:
    """``Routers`` from the keys that routers keep alive."""

    def __init__(self, redis: Redis, *, settle_s: float = SETTLE_S) -> None:
        """Read through ``redis``; what it says counts when it was there for ``settle_s`` without a break."""
        self._redis = redis
        self._settle_s = settle_s
        self._away_at = float("-inf")
        self._known = True

    async def look(self) -> Sequence[RouterState]:
        """Return every router whose key has not expired.

        Raises:
            Unavailable: Redis does not answer, or may not have heard of every router yet.
        """
        try:
            routers = await self._look()
        except Unavailable as error:
            if self._known:  # said once: whoever waits looks many times a second
                log.info("routers_unknown", error=error.detail)
            self._known = False
            raise
        self._known = True
        return routers

    async def _look(self) -> Sequence[RouterState]:
        clock = asyncio.get_running_loop()
        try:
            keys = [key async for key in self._redis.scan_iter(match=PATTERN, count=100)]
            values = await self._redis.mget(keys) if keys else []
            known_s = await self._known_s()  # asked last: a loss in between is seen
        except (RedisError, OSError) as error:
            self._away_at = clock.time()
            msg = f"Redis does not answer: {error!r}"
            raise Unavailable(msg) from error
        known_s = min(known_s, clock.time() - self._away_at)
        if known_s < self._settle_s:
            msg = f"Redis knows the routers for {known_s:.1f} s only; after {self._settle_s:g} s each has written again"
            raise Unavailable(msg)
        pairs = zip(keys, values, strict=True)
        return [_read(key, value) for key, value in pairs if value is not None]

    async def _known_s(self) -> float:
        """Return for how long Redis runs and has lost nothing; a mark that it has lost is set anew."""
        age_ms = int(await self._redis.eval(_AGE, 1, MARK))
        server: Mapping[str, Any] = await self._redis.info("server")
        return min(age_ms / 1000, float(server["uptime_in_seconds"]))


def _read(key: Any, value: Any) -> RouterState:
    name = key.decode() if isinstance(key, bytes) else str(key)
    raw = json.loads(value)
    draining = {UUID(instance): int(count) for instance, count in raw.get("draining", {}).items()}
    return RouterState(name.rsplit(":", 1)[-1], int(raw.get("epoch", 0)), draining)
