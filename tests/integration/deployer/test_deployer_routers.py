"""What the deployer believes of a real Redis: who is not there, and who is not there yet."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator, Iterator
from contextlib import contextmanager
from urllib.parse import urlsplit, urlunsplit
from uuid import uuid4

import pytest
from redis.asyncio import Redis
from structlog.testing import capture_logs

from algodock_common.errors import Unavailable
from algodock_common.routing import ROUTER_KEY
from algodock_common.settings import RedisSettings
from algodock_deployer.clients.routers import RedisRouters, RouterState

from .conftest import eventually

SETTLE_S = 1.0


@pytest.fixture
async def redis(redis_settings: RedisSettings) -> AsyncIterator[Redis]:
    """Give a database of this test's own, which it may empty."""
    url = urlunsplit(urlsplit(redis_settings.url.get_secret_value())._replace(path="/9"))
    redis = Redis.from_url(url)
    await redis.flushdb()
    yield redis
    await redis.flushdb()
    await redis.aclose()


async def known(routers: RedisRouters) -> list[RouterState]:
    async def look() -> list[list[RouterState]] | None:
        try:
            return [list(await routers.look())]
        except Unavailable:
            return None

    return (await eventually(look, 60, "the routers to be known"))[0]


async def test_a_redis_that_lost_everything_does_not_say_that_no_router_is_there(redis: Redis) -> None:
    routers, draining = RedisRouters(redis, settle_s=SETTLE_S), uuid4()
    with pytest.raises(Unavailable, match="has written again"):
        await routers.look()  # one that was just started
    assert await known(routers) == [], "nobody has come in time, so nobody is there"
    said = json.dumps({"epoch": 4, "draining": {str(draining): 1}})
    await redis.set(ROUTER_KEY + "gateway", said)
    assert [one.in_flight for one in await routers.look()] == [{draining: 1}]

    await redis.flushdb()
    with pytest.raises(Unavailable, match="has written again"):
        await routers.look()
    await redis.set(ROUTER_KEY + "gateway", said)  # as it does within its beat
    with pytest.raises(Unavailable, match="has written again"):
        await routers.look()  # there may be others
    assert [one.in_flight for one in await known(routers)] == [{draining: 1}]


@contextmanager
def out_of_reach(redis: Redis, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Have a Redis answer nothing for the block."""

    async def away(*_: object) -> object:
        raise ConnectionResetError

    with monkeypatch.context() as patched:
        patched.setattr(redis, "eval", away)
        yield


async def test_what_a_redis_says_that_was_out_of_reach_counts_when_every_router_could_write_again(
    redis: Redis, monkeypatch: pytest.MonkeyPatch
) -> None:
    routers = RedisRouters(redis, settle_s=SETTLE_S)
    await known(routers)

    with out_of_reach(redis, monkeypatch), pytest.raises(Unavailable, match="does not answer"):
        await routers.look()
    with pytest.raises(Unavailable, match="has written again"):
        await routers.look()
    assert await known(routers) == []


async def test_that_nobody_knows_the_routers_is_logged_once_for_each_outage(
    redis: Redis, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whoever waits for a drain looks many times a second: a line for each would be all there is in the log."""
    routers = RedisRouters(redis, settle_s=SETTLE_S)
    await known(routers)

    for outage in (1, 2):
        with capture_logs() as said:
            with out_of_reach(redis, monkeypatch):
                for _ in range(5):
                    with pytest.raises(Unavailable):
                        await routers.look()
            with pytest.raises(Unavailable, match="has written again"):
                await routers.look()
            await known(routers)
        lines = [one for one in said if one["event"] == "routers_unknown"]
        assert [line["error"] for line in lines] == ["Redis does not answer: ConnectionResetError()"], outage
