"""Signals on a real Redis: heard in order and whole, silent without it, and heard again after it."""

from __future__ import annotations

import asyncio
import os
import signal
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
from prometheus_client import REGISTRY
from redis.asyncio import Redis

from algodock_cli.stack import EmbeddedServers
from algodock_common.settings import RedisSettings
from algodock_common.signals import TASK_FINISHED, TASK_READY, Signals


@pytest.fixture
def own_redis(tmp_path: Path) -> Iterator[EmbeddedServers]:
    """Start a Redis that a test may kill."""
    elsewhere = {"DATABASE_URL": "x", "KAFKA_BOOTSTRAP": "x", "S3_ENDPOINT": "x"}
    servers = EmbeddedServers(tmp_path, elsewhere)
    servers.start("redis")
    yield servers
    servers.stop()


def settings(servers: EmbeddedServers) -> RedisSettings:
    return RedisSettings.model_validate({"url": servers.environment["REDIS_URL"]})


@asynccontextmanager
async def running(*signals: Signals) -> AsyncIterator[None]:
    for one in signals:
        await one.start()
    try:
        yield
    finally:
        for one in signals:
            await one.stop()


class Heard:
    """Keeps what a handler got, and lets a test wait for it."""

    def __init__(self) -> None:
        self.payloads: list[bytes] = []
        self._changed = asyncio.Event()

    def __call__(self, payload: bytes) -> None:
        self.payloads.append(payload)
        self._changed.set()

    async def wait_for(self, count: int, seconds: float = 60) -> list[bytes]:
        async with asyncio.timeout(seconds):
            while len(self.payloads) < count:
                self._changed.clear()
                await self._changed.wait()
        return self.payloads


async def listening(redis: RedisSettings, channel: str, count: int = 1) -> None:
    """Wait until so many subscribers are there."""
    client = Redis.from_url(redis.url.get_secret_value())
    async with asyncio.timeout(60):
        while (await client.pubsub_numsub(f"algodock:signal:{channel}"))[0][1] < count:  # noqa: ASYNC110  # only asking tells
            await asyncio.sleep(0.01)
    await client.aclose()


def counted(channel: str, outcome: str) -> float:
    return REGISTRY.get_sample_value("algodock_signals_total", {"channel": channel, "outcome": outcome}) or 0.0


async def test_every_listener_hears_each_signal_once_in_order(redis_settings: RedisSettings) -> None:
    heard, also, ready = Heard(), Heard(), Heard()
    sender, one, other = (Signals(redis_settings) for _ in range(3))
    one.subscribe(TASK_FINISHED, heard)
    one.subscribe(TASK_READY, ready)
    other.subscribe(TASK_FINISHED, also)
    with pytest.raises(ValueError, match="handler already"):
        one.subscribe(TASK_READY, ready)
    told = [f'{{"n":{number},"pad":"{"x" * 900}"}}'.encode() for number in range(500)]
    async with running(sender, one, other):
        await listening(redis_settings, TASK_FINISHED, 2)
        for payload in told:
            sender.publish(TASK_FINISHED, payload)
        sender.publish(TASK_READY, b"echo")
        sender.publish(TASK_READY, b"echo")  # what says the same is said once
        assert await heard.wait_for(500) == told
        assert await also.wait_for(500) == told
        await ready.wait_for(1)
        sender.publish(TASK_READY, b"other")
        assert await ready.wait_for(2) == [b"echo", b"other"]


async def test_a_handler_that_fails_does_not_silence_the_next_signal(redis_settings: RedisSettings) -> None:
    heard = Heard()

    def choosy(payload: bytes) -> None:
        if payload == b"bad":
            raise ValueError(payload)
        heard(payload)

    one = Signals(redis_settings)
    one.subscribe(TASK_FINISHED, choosy)
    async with running(one):
        await listening(redis_settings, TASK_FINISHED)
        one.publish(TASK_FINISHED, b"bad")
        one.publish(TASK_FINISHED, b"good")
        assert await heard.wait_for(1) == [b"good"]


async def test_without_redis_nothing_fails_and_what_is_dropped_is_counted(own_redis: EmbeddedServers) -> None:
    heard = Heard()
    one = Signals(settings(own_redis))
    one.subscribe(TASK_READY, heard)
    async with running(one):
        await listening(settings(own_redis), TASK_READY)
        one.publish(TASK_READY, b"before")
        await heard.wait_for(1)
        own_redis.kill("redis")
        dropped = counted(TASK_READY, "dropped")
        one.publish(TASK_READY, b"lost")
        async with asyncio.timeout(60):
            while counted(TASK_READY, "dropped") == dropped:  # noqa: ASYNC110  # a counter tells nobody
                await asyncio.sleep(0.01)
        assert one.away
        own_redis.start("redis")
        await listening(settings(own_redis), TASK_READY)
        async with asyncio.timeout(60):
            while heard.payloads[-1] != b"after":
                one.publish(TASK_READY, b"after")
                await asyncio.sleep(0.05)
        assert b"lost" not in heard.payloads
        assert not one.away


async def test_a_redis_that_hangs_holds_nobody_up_and_the_backlog_is_bounded(own_redis: EmbeddedServers) -> None:
    one = Signals(settings(own_redis))
    async with running(one):
        one.publish(TASK_FINISHED, b"{}")
        pid = own_redis.pid("redis")
        os.kill(pid, signal.SIGSTOP)
        try:
            dropped = counted(TASK_FINISHED, "dropped")
            began = asyncio.get_running_loop().time()
            for number in range(11_000):
                one.publish(TASK_FINISHED, b"%d" % number)
            assert asyncio.get_running_loop().time() - began < 20, "each that waited would have taken seconds"
            assert counted(TASK_FINISHED, "dropped") - dropped >= 1_000
        finally:
            os.kill(pid, signal.SIGCONT)


async def test_before_the_start_and_with_a_line_break_a_signal_is_dropped(redis_settings: RedisSettings) -> None:
    one = Signals(redis_settings)
    dropped = counted(TASK_READY, "dropped")
    one.publish(TASK_READY, b"early")
    async with running(one):
        one.publish(TASK_READY, b"two\nlines")
    assert counted(TASK_READY, "dropped") - dropped == 2
