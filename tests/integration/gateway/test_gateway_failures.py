"""``/ai/<name>/<path>`` when something is wrong: limits, timeouts, broken and absent instances."""

from __future__ import annotations

import asyncio
import socket
from typing import TYPE_CHECKING

import httpx
import pytest

from tests.integration.gateway.upstream import Upstream, answer, answering, read_head, read_request, until

if TYPE_CHECKING:
    from .conftest import World

pytestmark = pytest.mark.timeout(300)


def refusing_port() -> int:
    with socket.socket() as sock:
        sock.bind(("127.0.0.1", 0))
        port: int = sock.getsockname()[1]
        return port


async def silent(_: Upstream, reader: asyncio.StreamReader, __: asyncio.StreamWriter) -> None:
    await reader.read()


async def test_a_refused_connection_is_tried_on_another_instance(world: World) -> None:
    world.route(refusing_port())
    world.route(refusing_port())
    upstream = await world.upstream(answering(answer()))
    for _ in range(6):
        assert (await world.post(content=b"body")).status_code == 200
    assert [request.body for request in upstream.requests] == [b"body"] * 6
    await world.idle()


async def test_when_no_instance_takes_a_connection_it_is_503(world: World) -> None:
    world.route(refusing_port())
    got = await world.post()
    assert (got.status_code, got.headers["retry-after"]) == (503, "1")
    await world.idle()


async def test_once_something_was_sent_no_other_instance_is_tried(world: World) -> None:
    hits = 0

    async def dropping(_: Upstream, reader: asyncio.StreamReader, __: asyncio.StreamWriter) -> None:
        nonlocal hits
        await read_request(reader)
        hits += 1

    await world.upstream(dropping)
    await world.upstream(dropping)
    got = await world.post()
    assert (got.status_code, hits) == (502, 1)
    assert got.headers["content-type"] == "application/problem+json"
    assert "127.0.0.1" not in got.text
    await world.idle()


@pytest.mark.parametrize(
    "nonsense",
    [
        b"\x16\x03\x01 not http",
        b"HTTP/1.1 200 OK\r\ncontent-length: 5\r\ncontent-length: 6\r\n\r\nhello",
        b"HTTP/1.1 200 OK\r\ncontent-length: 5\r\ntransfer-encoding: chunked\r\n\r\n0\r\n\r\n",
        b"HTTP/1.1 101 Switching Protocols\r\nupgrade: x\r\nconnection: upgrade\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nx: " + b"y" * 70_000 + b"\r\n\r\n",
        b"HTTP/1.1 200 OK\r\ncontent-len",
        b"HTTP/1.1 799 Odd\r\ncontent-length: 0\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nx: a\x01b\r\ncontent-length: 0\r\n\r\n",
    ],
    ids=[
        "no-http",
        "two-lengths",
        "length-and-chunks",
        "switching",
        "endless-head",
        "half-a-head",
        "no-status",
        "control-characters",
    ],
)
async def test_an_answer_that_is_no_answer_is_502(world: World, nonsense: bytes) -> None:
    await world.upstream(answering(nonsense, close=True))
    assert (await world.post()).status_code == 502
    await world.idle()


async def test_an_answer_that_breaks_off_is_broken_off_for_the_caller_too(world: World) -> None:
    await world.upstream(answering(b"HTTP/1.1 200 OK\r\ncontent-length: 100\r\n\r\npart", close=True))
    with pytest.raises(httpx.RemoteProtocolError):
        await world.post()
    record = await world.record()
    assert (record.status, record.error, record.bytes_out) == (200, "answer-broke", 4)
    await world.idle()


async def test_an_answer_past_the_timeout_is_504_and_the_instances_call_is_ended(world: World) -> None:
    async def late(upstream: Upstream, reader: asyncio.StreamReader, _: asyncio.StreamWriter) -> None:
        await read_request(reader)
        assert await reader.read() == b""
        upstream.closed.set()

    upstream = await world.upstream(late, timeout_s=1.2)
    got = await world.post()
    assert got.status_code == 504
    assert "1.2 s" in got.json()["detail"]
    async with asyncio.timeout(60):
        await upstream.closed.wait()
    await world.idle()


async def test_an_instance_that_takes_no_more_of_a_body_is_504(world: World) -> None:
    async def deaf(_: Upstream, __: asyncio.StreamReader, ___: asyncio.StreamWriter) -> None:
        await asyncio.sleep(20)

    await world.upstream(deaf, timeout_s=0.5)
    assert (await world.post(content=b"x" * 30_000_000)).status_code == 504
    await world.idle()


async def test_a_stream_whose_next_part_is_too_late_is_broken_off(world: World) -> None:
    async def stalling(_: Upstream, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await read_request(reader)
        writer.write(b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n3\r\none\r\n")
        await reader.read()

    await world.upstream(stalling, timeout_s=1.5)
    with pytest.raises(httpx.RemoteProtocolError):
        await world.post()
    await world.idle()


async def test_a_declared_body_past_the_limit_is_413_before_it_is_read(world: World) -> None:
    upstream = await world.upstream(answering(answer()), max_body_bytes=1000)
    reader, writer = await asyncio.open_connection("127.0.0.1", world.port)
    writer.write(
        b"POST /ai/echo/x HTTP/1.1\r\nhost: x\r\nauthorization: Bearer ak_test\r\ncontent-length: 2000000000\r\n\r\n"
    )
    await writer.drain()
    async with asyncio.timeout(60):
        assert (await reader.readline()).startswith(b"HTTP/1.1 413")
    writer.close()
    assert not upstream.requests


async def test_a_body_that_turns_out_past_the_limit_is_413(world: World) -> None:
    async def reading(_: Upstream, reader: asyncio.StreamReader, __: asyncio.StreamWriter) -> None:
        await read_head(reader)
        await reader.read()

    await world.upstream(reading, max_body_bytes=100_000)

    async def body() -> object:
        for _ in range(20):
            yield b"x" * 10_000
            await asyncio.sleep(0.001)

    got = await world.post(content=body())
    assert got.status_code == 413
    assert got.json()["limit_bytes"] == 100_000
    await world.idle()


async def test_an_unannounced_body_that_comes_whole_at_once_is_measured_too(world: World) -> None:
    upstream = await world.upstream(answering(answer()), max_body_bytes=1000)
    head = b"POST /ai/echo/x HTTP/1.1\r\nhost: x\r\nauthorization: Bearer ak_test\r\ntransfer-encoding: chunked\r\n\r\n"
    for size, status in ((1000, b"200"), (1001, b"413")):
        reader, writer = await asyncio.open_connection("127.0.0.1", world.port)
        writer.write(head + b"%x\r\n%b\r\n0\r\n\r\n" % (size, b"x" * size))
        async with asyncio.timeout(60):
            assert (await reader.readline()).split()[1] == status
        writer.close()
    assert len(upstream.requests) == 1


async def test_an_early_answer_ends_the_upload(world: World) -> None:
    async def refusing(_: Upstream, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await read_head(reader)
        writer.write(answer(b"too much", status="413 Too Large"))
        await writer.drain()
        await reader.read()

    await world.upstream(refusing)
    reader, writer = await asyncio.open_connection("127.0.0.1", world.port)
    head = b"POST /ai/echo/x HTTP/1.1\r\nhost: x\r\nauthorization: Bearer ak_test\r\ntransfer-encoding: chunked\r\n\r\n"
    writer.write(head + b"3\r\none\r\n")
    await writer.drain()
    async with asyncio.timeout(60):
        assert (await reader.readline()).startswith(b"HTTP/1.1 413")
    await world.idle()
    writer.close()


async def test_past_concurrency_and_queue_it_is_429_and_who_waits_gets_the_slot(world: World) -> None:
    gate = asyncio.Event()
    running = 0
    most = 0

    async def gated(_: Upstream, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        nonlocal running, most
        while await read_request(reader) is not None:
            running += 1
            most = max(most, running)
            await gate.wait()
            running -= 1
            writer.write(answer())

    await world.upstream(gated, concurrency=2, queue=3)
    async with asyncio.TaskGroup() as group:
        calls = [group.create_task(world.post()) for _ in range(8)]
        await until(lambda: running == 2 and sum(call.done() for call in calls) == 3)
        gate.set()
    statuses = sorted(call.result().status_code for call in calls)
    assert statuses == [200] * 5 + [429] * 3
    refused = next(call.result() for call in calls if call.result().status_code == 429)
    assert refused.headers["retry-after"] == "1"
    assert refused.json()["queue"] == 3
    assert most == 2
    await world.idle()


async def test_waiting_too_long_for_a_slot_is_503(world: World) -> None:
    await world.upstream(silent, concurrency=1, queue=5, timeout_s=0.4)
    async with asyncio.TaskGroup() as group:
        calls = [group.create_task(world.post()) for _ in range(3)]
    statuses = sorted(call.result().status_code for call in calls)
    assert statuses[0] == 503
    assert statuses[-1] == 504
    await world.idle()


async def test_a_caller_who_leaves_the_queue_never_reaches_the_instance(world: World) -> None:
    gate = asyncio.Event()

    async def gated(upstream: Upstream, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while (request := await read_request(reader)) is not None:
            upstream.requests.append(request)
            await gate.wait()
            writer.write(answer())

    upstream = await world.upstream(gated, concurrency=1)
    first = asyncio.create_task(world.post())
    await until(lambda: upstream.requests)
    second = asyncio.create_task(world.post())
    await until(lambda: any(gate.queued for gate in world.desk.gates()))
    second.cancel()
    await until(lambda: not any(gate.queued for gate in world.desk.gates()))
    gate.set()
    assert (await first).status_code == 200
    await world.idle()
    assert len(upstream.requests) == 1


async def test_an_idle_connection_that_the_instance_closed_is_not_used_again(world: World) -> None:
    async def closing(upstream: Upstream, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        upstream.requests.append(await read_request(reader))  # type: ignore[arg-type]
        writer.write(answer())
        await writer.drain()
        await asyncio.sleep(0.25)  # then it closes, without a word of it before

    upstream = await world.upstream(closing)
    for _ in range(3):
        assert (await world.post()).status_code == 200
        await asyncio.sleep(0.3)
    assert upstream.connections == 3


async def test_an_instance_that_speaks_unasked_loses_its_connection(world: World) -> None:
    async def talking(upstream: Upstream, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        upstream.requests.append(await read_request(reader))  # type: ignore[arg-type]
        writer.write(answer(b"first"))
        await writer.drain()
        await asyncio.sleep(0.05)
        writer.write(answer(b"poison"))
        await reader.read()

    await world.upstream(talking)
    for _ in range(3):
        assert (await world.post()).content == b"first"
        await asyncio.sleep(0.1)


async def test_a_connection_carries_many_calls_and_one_is_made_for_each_at_once(world: World) -> None:
    upstream = await world.upstream(answering(answer()))
    for _ in range(5):
        await world.post()
    assert upstream.connections == 1
    async with world.client() as client:
        await asyncio.gather(*(client.post("/ai/echo/x") for _ in range(20)))
    assert upstream.connections <= 20


async def test_calls_in_flight_are_counted_on_a_draining_instance_until_they_end(world: World) -> None:
    gate = asyncio.Event()

    async def gated(_: Upstream, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await read_request(reader)
        await gate.wait()
        writer.write(answer())

    upstream = await world.upstream(gated, routed=False)
    instance = world.route(upstream.port)
    call = asyncio.create_task(world.post())
    known = world.table.instance(instance)
    assert known is not None
    await until(lambda: known.in_flight)
    world.route(upstream.port, state="draining", instance_id=instance)
    assert dict(world.table.draining()) == {str(instance): 1}
    assert (await world.post()).status_code == 503
    gate.set()
    assert (await call).status_code == 200
    await until(lambda: not world.table.draining()[str(instance)])
