"""What every router (gateways, workers) says of itself in Redis: the epoch it has applied, and open calls."""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Protocol
from uuid import UUID

from redis.exceptions import RedisError

from algodock_common.errors import Unavailable

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from redis.asyncio import Redis

__all__ = ["RedisRouters", "RouterState", "Routers"]

PATTERN = "algodock:router:*"


@dataclass(frozen=True)
class RouterState:
    """One router: ``in_flight`` counts its open calls to draining instances."""

    router: str
    epoch: int
    in_flight: Mapping[UUID, int] = field(default_factory=dict)

    def let_go(self, instance_id: UUID, epoch: int) -> bool:
        """Return whether it sends nothing more to the instance and waits for nothing of it."""
        return self.epoch >= epoch and self.in_flight.get(instance_id, 0) == 0


class Routers(Protocol):
    """Reads the routers' states."""

    async def look(self) -> Sequence[RouterState]:
        """Return every router that is alive.

        Raises:
            Unavailable: Redis does not answer.
        """
        ...


class RedisRouters:
    """``Routers`` from the keys that routers keep alive."""

    def __init__(self, redis: Redis) -> None:
        """Read through ``redis``."""
        self._redis = redis

    async def look(self) -> Sequence[RouterState]:
        """Return every router whose key has not expired."""
        try:
            keys = [key async for key in self._redis.scan_iter(match=PATTERN, count=100)]
            values = await self._redis.mget(keys) if keys else []
        except (RedisError, OSError) as error:
            msg = f"Redis does not answer: {error!r}"
            raise Unavailable(msg) from error
        pairs = zip(keys, values, strict=True)
        return [_read(key, value) for key, value in pairs if value is not None]


def _read(key: Any, value: Any) -> RouterState:
    name = key.decode() if isinstance(key, bytes) else str(key)
    raw = json.loads(value)
    draining = {UUID(instance): int(count) for instance, count in raw.get("draining", {}).items()}
    return RouterState(name.rsplit(":", 1)[-1], int(raw.get("epoch", 0)), draining)
