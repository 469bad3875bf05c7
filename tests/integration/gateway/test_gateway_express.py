"""The express lane: what it takes, what it leaves to tasks, and that a caller cannot tell one from the other."""

from __future__ import annotations

import asyncio
import contextlib
import re
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager

import pytest

from algodock_common.observability.tracing import SpanRecord, span, use_exporters
from tests.integration.gateway.conftest import World
from tests.integration.gateway.upstream import Upstream, answer, answering, read_head, read_request, until

pytestmark = pytest.mark.timeout(300)

TRACE = "4bf92f3577b34da6a3ce929d0e0e4736"


@pytest.fixture
async def world() -> AsyncIterator[World]:
    """The hot path with the lane, and one second of keep-alive."""
    world = World(express=True, keep_alive_s=1)
    async with world.serving():
        yield world


@asynccontextmanager
async def caller(world: World) -> AsyncIterator[tuple[asyncio.StreamReader, asyncio.StreamWriter]]:
    """A connection whose bytes the test writes itself."""
    reader, writer = await asyncio.open_connection("127.0.0.1", world.port)
    try:
        yield reader, writer
    finally:
        writer.close()


def request(path: str = "x", *, body: bytes = b"", headers: str = "", method: str = "POST") -> bytes:
    head = f"{method} /ai/echo/{path} HTTP/1.1\r\nhost: h\r\nauthorization: Bearer ak_test\r\n{headers}"
    return f"{head}content-length: {len(body)}\r\n\r\n".encode() + body


async def read_answer(reader: asyncio.StreamReader) -> tuple[bytes, bytes]:
    """Read one answer with a Content-Length: its head and its body."""
    async with asyncio.timeout(60):
        head = await reader.readuntil(b"\r\n\r\n")
        length = re.search(rb"content-length: (\d+)", head)
        assert length is not None, head
        return head, await reader.readexactly(int(length[1]))


def taken(world: World) -> int:
    assert world.lane is not None
    return world.lane.taken


async def silent(upstream: Upstream, reader: asyncio.StreamReader, _: asyncio.StreamWriter) -> None:
    """Take a request, and wait for the connection's end."""
    got = await read_request(reader)
    assert got is not None
    upstream.requests.append(got)
    await reader.read()
    upstream.closed.set()


async def test_a_caller_cannot_tell_the_lane_from_a_task(world: World) -> None:
    more = (
        "content-type: application/json\r\nset-cookie: a=1\r\nset-cookie: b=2\r\nserver: x\r\nkeep-alive: timeout=9\r\n"
    )
    upstream = await world.upstream(answering(answer(b'{"a": 1}', headers=more)))
    asked = request("predict?x=%20y", body=b"{}", headers="x-kept: yes\r\nte: trailers\r\n")
    async with caller(world) as (reader, writer):
        writer.write(asked)
        by_lane = await read_answer(reader)
        assert taken(world) == 1
        writer.write(asked.replace(b"\r\nhost", b"\r\nconnection: close\r\nhost"))
        by_task = await read_answer(reader)
    assert taken(world) == 1
    undated = [re.sub(rb"date: [^\r]*\r\n|connection: close\r\n", b"", head) for head, _ in (by_lane, by_task)]
    assert undated[0] == undated[1]
    assert b"\r\ndate: " in by_lane[0]
    assert by_lane[1] == by_task[1]
    first, second = upstream.requests
    assert (first.line, sorted(first.headers), first.body) == (second.line, sorted(second.headers), second.body)
    await until(lambda: len(world.sources.records) == 2)
    lane, task = (record._replace(started_at=0.0, duration_us=0) for record in world.sources.records)
    assert lane == task


async def test_calls_one_after_another_are_taken_on_the_same_connections(world: World) -> None:
    upstream = await world.upstream(answering(answer(b"12345")))
    async with caller(world) as (reader, writer):
        for number in range(5):
            writer.write(request(body=b"x" * number))
            assert (await read_answer(reader))[1] == b"12345"
    assert (taken(world), upstream.connections) == (5, 1)
    await world.idle()
    await until(lambda: len(world.sources.records) == 5)
    assert [(record.bytes_in, record.bytes_out, record.status) for record in world.sources.records] == [
        (number, 5, 200) for number in range(5)
    ]


async def test_instances_take_turns_also_when_only_one_of_them_has_an_idle_connection(world: World) -> None:
    warm = await world.upstream(answering(answer()))
    world.express = False
    cold = await world.upstream(answering(answer()))
    async with caller(world) as (reader, writer):
        for _ in range(6):
            writer.write(request(body=b"{}"))
            await read_answer(reader)
    assert (len(warm.requests), len(cold.requests)) == (3, 3)


async def test_a_short_body_that_comes_late_is_waited_for_and_one_that_stalls_is_streamed(world: World) -> None:
    begun = asyncio.Event()

    async def conversation(upstream: Upstream, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while (head := await read_head(reader)) is not None:
            begun.set()
            head.body = await reader.readexactly(int(head.header("content-length") or 0))
            upstream.requests.append(head)
            writer.write(answer(head.body))

    await world.upstream(conversation)
    asked = request(body=b"one, two")
    async with caller(world) as (reader, writer):
        writer.write(asked[:-8])
        await writer.drain()
        await asyncio.sleep(0)
        writer.write(asked[-8:])
        assert (await read_answer(reader))[1] == b"one, two"
        begun.clear()
        writer.write(asked[:-3])
        async with asyncio.timeout(60):
            await begun.wait()  # the head is at the instance though the body is not here
        before = taken(world)
        writer.write(asked[-3:])
        assert (await read_answer(reader))[1] == b"one, two"
    assert taken(world) == before


async def test_a_body_past_what_is_held_is_streamed_whole(world: World) -> None:
    async def echo(_: Upstream, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while (got := await read_request(reader)) is not None:
            writer.write(answer(got.body))

    await world.upstream(echo)
    body = bytes(range(256)) * 1024
    async with caller(world) as (reader, writer):
        writer.write(request(body=body))
        assert (await read_answer(reader))[1] == body
    assert taken(world) == 0


async def test_a_short_body_past_the_limit_is_413_and_reaches_nobody(world: World) -> None:
    upstream = await world.upstream(answering(answer()), max_body_bytes=100)
    async with caller(world) as (reader, writer):
        writer.write(request(body=b"x" * 101))
        assert (await read_answer(reader))[0].startswith(b"HTTP/1.1 413 ")
        writer.write(request(body=b"x" * 100))
        assert (await read_answer(reader))[0].startswith(b"HTTP/1.1 200 ")
    assert (taken(world), len(upstream.requests)) == (1, 1)


async def test_requests_sent_before_their_answers_are_answered_in_order(world: World) -> None:
    overtaking = asyncio.Event()

    async def echo(_: Upstream, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while (got := await read_request(reader)) is not None:
            if got.body == b"0":  # time for a later one to be answered first, if it were sent
                with contextlib.suppress(TimeoutError):
                    async with asyncio.timeout(0.3):
                        await overtaking.wait()
            else:
                overtaking.set()
            writer.write(answer(got.body))

    await world.upstream(echo)
    async with caller(world) as (reader, writer):
        writer.write(b"".join(request(body=b"%d" % number) for number in range(4)))
        assert [(await read_answer(reader))[1] for _ in range(4)] == [b"0", b"1", b"2", b"3"]
        writer.write(request(body=b"after"))
        assert (await read_answer(reader))[1] == b"after"
    assert taken(world) >= 2
    await world.idle()


@pytest.mark.parametrize(
    "parts",
    [
        (b"HTTP/1.1 200 OK\r\ncontent-length: 6\r\n\r\n", b"onetwo"),
        (b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n6\r\nonetwo\r\n0\r\n\r\n",),
    ],
)
async def test_an_answer_in_parts_or_of_unknown_length_is_handed_over(world: World, parts: tuple[bytes, ...]) -> None:
    seen = asyncio.Event()

    async def conversation(_: Upstream, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while await read_request(reader) is not None:
            writer.write(parts[0])
            await seen.wait()
            writer.write(b"".join(parts[1:]))

    await world.upstream(conversation)
    async with world.client() as client, client.stream("GET", "/ai/echo/x") as got:
        seen.set()  # the head is here before the body was sent
        assert await got.aread() == b"onetwo"
        assert "content-length" in got.headers or got.headers["transfer-encoding"] == "chunked"
    assert taken(world) == 1
    await world.idle()
    record = await world.record()
    assert (record.status, record.bytes_out, record.error) == (200, 6, None)


@pytest.mark.parametrize("status", ["204 No Content", "304 Not Modified"])
async def test_an_answer_without_a_body_ends_with_its_head(world: World, status: str) -> None:
    await world.upstream(answering(f"HTTP/1.1 {status}\r\ncontent-length: 0\r\n\r\n".encode()))
    async with world.client() as client:
        got = await client.get("/ai/echo/x")
    assert (got.status_code, got.content, taken(world)) == (int(status[:3]), b"", 1)
    await world.idle()


async def test_a_caller_who_leaves_ends_the_instances_call_at_once(world: World) -> None:
    upstream = await world.upstream(silent)
    async with caller(world) as (_, writer):
        writer.write(request())
        await until(lambda: upstream.requests)
    async with asyncio.timeout(60):
        await upstream.closed.wait()
    record = await world.record()
    assert (record.status, record.error, taken(world)) == (499, "caller-gone", 1)
    await world.idle()


async def test_a_caller_who_leaves_before_a_short_body_is_whole_is_recorded_and_reaches_nobody(world: World) -> None:
    upstream = await world.upstream(answering(answer()))
    async with caller(world) as (_, writer):
        writer.write(request(body=b"whole")[:-5])
        await writer.drain()
    record = await world.record()
    assert (record.status, record.error) == (499, "caller-gone")
    assert not upstream.requests
    await world.idle()


async def test_silence_is_504_and_a_broken_connection_502(world: World) -> None:
    upstream = await world.upstream(silent, timeout_s=0.2)
    got = await world.post()
    assert (got.status_code, taken(world)) == (504, 1)
    async with asyncio.timeout(60):
        await upstream.closed.wait()
    world.route(upstream.port, state="gone", instance_id=next(iter(world.table.routes())).ready[0].id)

    async def dropping(upstream: Upstream, reader: asyncio.StreamReader, _: asyncio.StreamWriter) -> None:
        upstream.requests.append(await read_request(reader))  # type: ignore[arg-type]

    broken = await world.upstream(dropping)
    got = await world.post()
    assert (got.status_code, taken(world), len(broken.requests)) == (502, 2, 1)
    await world.idle()


async def test_a_stop_lets_a_call_in_flight_end_and_says_that_the_connection_does(world: World) -> None:
    gate = asyncio.Event()

    async def gated(upstream: Upstream, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        upstream.requests.append(await read_request(reader))  # type: ignore[arg-type]
        await gate.wait()
        writer.write(answer(b"late"))

    upstream = await world.upstream(gated)
    async with caller(world) as (reader, writer):
        writer.write(request())
        await until(lambda: upstream.requests)
        assert taken(world) == 1
        assert world.server is not None
        world.server.should_exit = True
        async with asyncio.timeout(60):
            with pytest.raises(ConnectionError):  # noqa: PT012  # until no new connection is taken
                while True:
                    _, other = await asyncio.open_connection("127.0.0.1", world.port)
                    other.close()
        gate.set()
        head, body = await read_answer(reader)
        assert b"connection: close\r\n" in head
        assert (body, await reader.read()) == (b"late", b"")


async def test_an_idle_connection_is_closed_counted_from_its_last_answer(world: World) -> None:
    await world.upstream(answering(answer()))
    loop = asyncio.get_running_loop()
    async with caller(world) as (reader, writer):
        begun = answered = loop.time()
        while answered - begun < 1.5:  # past the keep-alive of the first answer
            writer.write(request())
            await read_answer(reader)
            answered = loop.time()
            with pytest.raises(TimeoutError):
                async with asyncio.timeout(0.3):
                    await reader.read(1)
        async with asyncio.timeout(60):
            assert await reader.read() == b""
        assert loop.time() - answered > 0.9


class Spans:
    """Keeps the names of ended spans."""

    def __init__(self) -> None:
        self.names: list[str] = []

    def export(self, record: SpanRecord) -> None:
        self.names.append(record.name)

    def flush(self) -> None:
        """Nothing is held."""


@pytest.fixture
def spans() -> Iterator[Spans]:
    """Record the traces that a caller says are recorded, and none that begin here."""
    spans = Spans()
    use_exporters("gateway", 0.0, spans)
    yield spans
    use_exporters("gateway", 0.0)


async def test_a_recorded_trace_is_served_by_a_task_and_another_passes_as_it_came(world: World, spans: Spans) -> None:
    upstream = await world.upstream(answering(answer()))
    async with caller(world) as (reader, writer):
        for flags in ("01", "00"):
            writer.write(request(headers=f"traceparent: 00-{TRACE}-00f067aa0ba902b7-{flags}\r\n"))
            await read_answer(reader)
    assert taken(world) == 1
    recorded, other = (one.header("traceparent") for one in upstream.requests)
    assert other == f"00-{TRACE}-00f067aa0ba902b7-00"
    assert recorded is not None
    assert recorded.startswith(f"00-{TRACE}-")
    assert recorded != f"00-{TRACE}-00f067aa0ba902b7-01"
    assert spans.names == ["call echo", "POST /ai/echo"]
    await until(lambda: len(world.sources.records) == 2)
    assert [record.trace_id for record in world.sources.records] == [TRACE, None]


async def test_a_trace_is_begun_once_even_if_the_lane_declines_after(
    world: World, spans: Spans, monkeypatch: pytest.MonkeyPatch
) -> None:
    begun: list[str] = []

    def counting(name: str, **options: object) -> object:
        begun.append(name)
        return span(name, **options)  # type: ignore[arg-type]

    monkeypatch.setattr("algodock_gateway.routes.ai.span", counting)
    upstream = await world.upstream(answering(answer(), close=True), routed=False)
    world.route(upstream.port)
    async with caller(world) as (reader, writer):
        for _ in range(3):  # the first finds an idle connection, the others none
            writer.write(request())
            await read_answer(reader)
            await world.idle()
    assert (taken(world), len(upstream.requests)) == (1, 3)
    assert begun == spans.names == []
