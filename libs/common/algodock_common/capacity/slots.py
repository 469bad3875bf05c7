"""Slots of services in Redis: who holds how many, until when, and who waits for one since when.

A service's slots are one hash, a field a holder (a gateway's or a worker's process). One script counts
and grants, so two processes never both find the last slot free. What a holder does not renew within
the lease is free again; the time is Redis's own.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final, NamedTuple, Protocol, cast

from redis.asyncio import Redis
from redis.asyncio.retry import Retry
from redis.backoff import NoBackoff
from redis.exceptions import RedisError

from algodock_common.errors import Unavailable
from algodock_common.signals import PREFIX, SLOTS_MOVED

if TYPE_CHECKING:
    from collections.abc import Sequence

    from algodock_common.settings import RedisSettings

__all__ = ["Ask", "Granted", "RedisSlots", "SlotStore", "SlotsAway"]

WANT_S: Final = 2.0
"""Seconds that a holder's unmet wish keeps its place; it is renewed by being asked again."""

_KEY: Final = "algodock:slots:"
_BORN: Final = "algodock:slots-born"
_CHANNEL: Final = PREFIX + SLOTS_MOVED
_TIMEOUT_S: Final = 1.0

_SETTLE: Final = """
local holder, name = ARGV[1], ARGV[2]
local limit, keep, in_use = tonumber(ARGV[3]), tonumber(ARGV[4]), tonumber(ARGV[5])
local need, extra = tonumber(ARGV[6]), tonumber(ARGV[7])
local lease, patience = tonumber(ARGV[8]), tonumber(ARGV[9])
local time = redis.call('TIME')
local now = time[1] * 1000 + math.floor(time[2] / 1000)
local born = tonumber(redis.call('GET', KEYS[2]))
if not born then
  redis.call('SET', KEYS[2], string.format('%d', now))
  born = now
end
local had, wished, since, others = 0, 0, now, 0
local waiting = {}
local all = redis.call('HGETALL', KEYS[1])
for i = 1, #all, 2 do
  local parts = {}
  for part in string.gmatch(all[i + 1], '%d+') do parts[#parts + 1] = tonumber(part) end
  local held = parts[2] > now and parts[1] or 0
  local want = parts[5] > now and parts[3] or 0
  if all[i] == holder then
    had, wished = held, want
    if want > 0 then since = parts[4] end
  elseif held == 0 and want == 0 then
    redis.call('HDEL', KEYS[1], all[i])
  else
    others = others + held
    if want > 0 then waiting[#waiting + 1] = {want, parts[4]} end
  end
end
local ahead, elsewhere = 0, 0
for _, one in ipairs(waiting) do
  elsewhere = elsewhere + one[1]
  if wished == 0 or one[2] < since then ahead = ahead + one[1] end
end
local held = math.max(in_use, math.min(keep, math.max(limit - others, 0)))
local free = limit - others - held
local grant = 0
if free > 0 and now - born >= lease then
  grant = math.min(need, math.max(free - ahead, 0))
  if grant == need and elsewhere == 0 then grant = grant + math.min(extra, free - grant) end
end
held = held + grant
local unmet = math.max(need - grant, 0)
if unmet == 0 or grant > 0 or wished == 0 then since = now end
if held == 0 and unmet == 0 then
  redis.call('HDEL', KEYS[1], holder)
else
  redis.call('HSET', KEYS[1], holder,
    string.format('%d:%d:%d:%d:%d', held, now + lease, unmet, since, now + patience))
  redis.call('PEXPIRE', KEYS[1], lease + patience)
end
if (unmet > 0 and wished == 0) or (elsewhere > 0 and held < had and free > grant) then
  redis.call('PUBLISH', KEYS[3], name)
end
return {held, elsewhere, unmet}
"""
"""``born`` is when Redis began to count: after it lost its memory, nothing is granted until every process
that still runs has had a lease's time to say what it holds. The service's name is told (published) when
somebody begins to wait, and when slots became free that others wait for."""


class SlotsAway(Unavailable):
    """Redis does not answer, so nobody knows how many slots are free."""

    code = "slots-unknown"


@dataclass(frozen=True, slots=True)
class Ask:
    """What a process says and wants of one service's slots.

    It has ``in_use`` calls open, would ``keep`` so many slots of those it holds, has use for ``need``
    more at once and for ``extra`` ones if nobody else waits.
    """

    name: str
    limit: int
    keep: int
    in_use: int
    need: int = 0
    extra: int = 0


class Granted(NamedTuple):
    """How many slots the process holds now; how many others wait for; how many it waits for."""

    held: int
    elsewhere: int = 0
    unmet: int = 0


class SlotStore(Protocol):
    """Where slots are counted."""

    async def settle(self, holder: str, asks: Sequence[Ask], *, lease_s: float) -> list[Granted]:
        """Answer each ask, in their order; what is held then is held for ``lease_s`` seconds.

        Raises:
            SlotsAway: the store does not answer; what became of the asks is not known.
        """
        ...

    async def close(self) -> None:
        """Close the connections."""
        ...


class RedisSlots:
    """``SlotStore`` in Redis; one round trip however many services are asked for."""

    def __init__(self, settings: RedisSettings) -> None:
        """Prepare; nothing connects before it is used."""
        self._redis = Redis.from_url(
            settings.url.get_secret_value(),
            socket_timeout=_TIMEOUT_S,
            socket_connect_timeout=_TIMEOUT_S,
            retry=Retry(NoBackoff(), 1),  # once: an idle connection may be stale, and an ask may be repeated
        )
        self._script = self._redis.register_script(_SETTLE)

    async def settle(self, holder: str, asks: Sequence[Ask], *, lease_s: float) -> list[Granted]:
        """Answer each ask; without any, only begin to count where nobody did."""
        times = int(lease_s * 1000), int(WANT_S * 1000)
        try:
            async with self._redis.pipeline(transaction=False) as pipe:
                if not asks:
                    await self._begin()
                    return []
                for one in asks:
                    keys = [_KEY + one.name, _BORN, _CHANNEL]
                    values = (one.name, one.limit, one.keep, one.in_use, one.need, one.extra)
                    await cast("Any", self._script(keys=keys, args=[holder, *values, *times], client=pipe))
                return [Granted(*answer) for answer in await pipe.execute()]
        except (RedisError, OSError) as error:
            msg = f"Redis does not answer: {error!r}"
            raise SlotsAway(msg, retry_after=1) from error

    async def _begin(self) -> None:
        seconds, micros = await self._redis.time()
        await self._redis.set(_BORN, seconds * 1000 + micros // 1000, nx=True)

    async def close(self) -> None:
        """Close the connections."""
        await self._redis.aclose()
