"""``/ai/<name>/<path>``: what passes in both directions, who is let in, what is kept of a call."""

from __future__ import annotations

import asyncio
import json
import os
from typing import TYPE_CHECKING

import httpx
import pytest

from tests.integration.gateway.upstream import Upstream, answer, answering, read_head, read_request, until

if TYPE_CHECKING:
    from .conftest import World

pytestmark = pytest.mark.timeout(300)


async def test_a_call_reaches_the_instance_and_its_answer_the_caller(world: World) -> None:
    upstream = await world.upstream(answering(answer(b'{"a": 1}', headers="content-type: application/json\r\n")))
    got = await world.post("/ai/echo/predict?x=%20y&x=2", json={"input": "文本"})
    assert (got.status_code, got.json()) == (200, {"a": 1})
    request = upstream.requests[0]
    assert request.line == "POST /predict?x=%20y&x=2 HTTP/1.1"
    assert json.loads(request.body) == {"input": "文本"}
    assert request.header("host") == f"127.0.0.1:{upstream.port}"


async def test_the_path_is_passed_on_as_it_was_written(world: World) -> None:
    upstream = await world.upstream(answering(answer()))
    async with world.client() as client:
        for path in ("/ai/echo", "/ai/echo/", "/ai/echo/a%2Fb/%E4%BD%A0"):
            await client.get(path)
    assert [request.line.split()[1] for request in upstream.requests] == ["/", "/", "/a%2Fb/%E4%BD%A0"]


async def test_the_callers_key_identity_and_connection_headers_stay_here(world: World) -> None:
    upstream = await world.upstream(answering(answer()))
    await world.post(
        headers={
            "connection": "keep-alive, x-private",
            "x-private": "1",
            "te": "trailers",
            "x-algodock-identity": "forged",
            "x-forwarded-for": "10.0.0.1",
            "x-forwarded-prefix": "/forged",
            "x-kept": "yes",
        }
    )
    request = upstream.requests[0]
    for name in ("authorization", "x-private", "te", "x-algodock-identity", "connection"):
        assert request.header(name) is None, name
    assert request.header("x-kept") == "yes"
    assert request.header("x-forwarded-for") == "10.0.0.1, 127.0.0.1"
    assert request.header("x-forwarded-proto") == "http"
    assert request.header("x-forwarded-host") == f"127.0.0.1:{world.port}"
    assert request.header("x-forwarded-prefix") == "/ai/echo"


async def test_the_answers_connection_headers_stay_here_and_repeated_ones_pass(world: World) -> None:
    more = "Set-Cookie: a=1\r\nset-cookie: b=2\r\nKeep-Alive: timeout=5\r\nX-Kept: yes\r\nServer: secret\r\n"
    await world.upstream(answering(answer(headers=more)))
    got = await world.post()
    assert got.headers.get_list("set-cookie") == ["a=1", "b=2"]
    assert got.headers["x-kept"] == "yes"
    assert "keep-alive" not in got.headers
    assert got.headers.get("server") != "secret"


async def test_a_grpc_service_called_over_http_says_how_it_is_called(world: World) -> None:
    world.route(1, scheme="grpc")
    got = await world.post()
    assert got.status_code == 400
    assert got.json()["type"].endswith(":speaks-grpc")
    assert "/echo/<package.Service>/<Method>" in got.json()["detail"]
    record = await world.record()
    assert (record.status, record.error) == (400, "speaks-grpc")


async def test_no_key_or_a_wrong_one_is_401_and_nothing_reaches_the_instance(world: World) -> None:
    upstream = await world.upstream(answering(answer()))
    async with httpx.AsyncClient(base_url=world.url) as client:
        for headers in ({}, {"authorization": "Bearer wrong"}, {"authorization": "Basic d3Jvbmc="}):
            got = await client.post("/ai/echo/predict", headers=headers)
            assert got.status_code == 401
            assert got.headers["content-type"] == "application/problem+json"
            assert got.headers["www-authenticate"] == "Bearer"
    assert not upstream.requests


async def test_unknown_is_404_and_known_without_an_instance_503_after_the_routes_were_read_again(world: World) -> None:
    unknown = await world.post("/ai/no-such/predict")
    assert (unknown.status_code, world.sources.refreshed) == (404, 0)
    assert unknown.json()["detail"]
    stopped = await world.post("/ai/stopped/predict")
    assert (stopped.status_code, stopped.headers["retry-after"], world.sources.refreshed) == (503, "1", 1)
    assert stopped.headers["content-type"] == "application/problem+json"


async def test_an_instance_found_by_reading_the_routes_again_is_called(world: World) -> None:
    upstream = await world.upstream(answering(answer()), routed=False)

    def found() -> None:
        world.route(upstream.port)

    world.sources.on_refresh = found
    assert (await world.post()).status_code == 200


@pytest.mark.parametrize("size", [0, 1, 65_535, 65_537, 1_000_000, 30_000_000])
async def test_bodies_of_every_size_pass_unchanged_both_ways(world: World, size: int) -> None:
    body = os.urandom(size)

    async def echo(upstream: Upstream, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while (request := await read_request(reader)) is not None:
            upstream.requests.append(request)
            writer.write(answer(request.body))
            await writer.drain()

    await world.upstream(echo)
    got = await world.post(content=body)
    assert got.content == body
    record = await world.record()
    assert (record.bytes_in, record.bytes_out) == (size, size)


async def test_a_body_of_unknown_length_is_sent_on_in_chunks(world: World) -> None:
    begun = asyncio.Event()
    lines: list[bytes] = []

    async def reading(_: Upstream, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        head = await read_head(reader)
        assert head is not None
        assert head.header("transfer-encoding") == "chunked"
        begun.set()
        lines.extend([await reader.readline() for _ in range(6)])
        writer.write(answer())

    async def body() -> object:
        yield b"one"
        await begun.wait()  # the head is at the instance before the rest is sent
        yield b"two"

    await world.upstream(reading)
    assert (await world.post(content=body())).status_code == 200
    assert b"".join(lines) == b"3\r\none\r\n3\r\ntwo\r\n0\r\n\r\n"


async def test_a_chunked_answer_an_answer_until_the_end_and_an_old_server_pass(world: World) -> None:
    chunked = b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n3\r\none\r\n"
    for parts, close in (
        ((chunked, b"3;x=y\r\ntwo\r\n0\r\ntrailer: 1\r\n\r\n"), False),
        ((b"HTTP/1.1 200 OK\r\n\r\none", b"two"), True),
        ((b"HTTP/1.0 200 OK\r\n\r\nonetwo",), True),
    ):
        upstream = await world.upstream(answering(*parts, close=close), routed=False)
        instance = world.route(upstream.port)
        assert (await world.post()).content == b"onetwo"
        world.route(upstream.port, state="gone", instance_id=instance)


async def test_an_answer_without_a_body_keeps_its_status_and_the_connection(world: World) -> None:
    for method, response, status in (
        ("HEAD", b"HTTP/1.1 200 OK\r\ncontent-length: 99\r\n\r\n", 200),
        ("GET", b"HTTP/1.1 204 No Content\r\n\r\n", 204),
        ("GET", b'HTTP/1.1 304 Not Modified\r\netag: "x"\r\n\r\n', 304),
        ("GET", b"HTTP/1.1 304 Not Modified\r\ncontent-length: 99\r\n\r\n", 304),
        ("POST", answer(b""), 200),
    ):
        upstream = await world.upstream(answering(response), routed=False)
        instance = world.route(upstream.port)
        async with world.client() as client:
            for _ in range(2):
                got = await client.request(method, "/ai/echo/x")
                assert (got.status_code, got.content) == (status, b"")
        assert len(upstream.requests) == 2
        assert method == "HEAD" or upstream.connections == 1
        world.route(upstream.port, state="gone", instance_id=instance)


async def test_an_announcement_before_the_answer_is_not_the_answer(world: World) -> None:
    early = b"HTTP/1.1 100 Continue\r\n\r\n" + b"HTTP/1.1 103 Early Hints\r\nlink: x\r\n\r\n"
    upstream = await world.upstream(answering(early + answer(b"real")))
    for _ in range(2):
        got = await world.post()
        assert (got.status_code, got.content) == (200, b"real")
        assert "link" not in got.headers
    assert upstream.connections == 1


async def test_server_sent_events_pass_one_by_one(world: World) -> None:
    gates = [asyncio.Event() for _ in range(3)]

    async def events(_: Upstream, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await read_request(reader)
        writer.write(b"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\ntransfer-encoding: chunked\r\n\r\n")
        for number, gate in enumerate(gates):
            event = f"data: {number}\n\n".encode()
            writer.write(b"%x\r\n%b\r\n" % (len(event), event))
            await gate.wait()
        writer.write(b"0\r\n\r\n")
        await writer.drain()

    await world.upstream(events)
    async with world.client() as client, client.stream("POST", "/ai/echo/predict") as got:
        assert got.headers["content-type"] == "text/event-stream"
        number = 0
        async for line in got.aiter_lines():
            if line:
                assert line == f"data: {number}"
                gates[number].set()  # the next one is only sent when this one has arrived
                number += 1
    assert number == 3


async def test_a_slow_reader_slows_the_instance_down_and_memory_stays_bounded(world: World) -> None:
    written = 0

    async def endless(upstream: Upstream, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        nonlocal written
        await read_request(reader)
        writer.write(b"HTTP/1.1 200 OK\r\n\r\n")
        try:
            while True:
                writer.write(b"x" * 65_536)
                await writer.drain()
                written += 65_536
        except ConnectionError:
            upstream.closed.set()

    upstream = await world.upstream(endless)
    async with world.client() as client, client.stream("GET", "/ai/echo/x") as got:
        assert got.status_code == 200
        before = -1
        async with asyncio.timeout(60):
            while written != before:  # until nothing more is taken
                before = written
                await asyncio.sleep(0.3)
    assert written < 64 * 2**20
    async with asyncio.timeout(60):
        await upstream.closed.wait()


async def test_a_caller_who_leaves_ends_the_instances_call(world: World) -> None:
    async def silent(upstream: Upstream, reader: asyncio.StreamReader, _: asyncio.StreamWriter) -> None:
        upstream.requests.append(await read_request(reader))  # type: ignore[arg-type]
        assert await reader.read() == b""
        upstream.closed.set()

    upstream = await world.upstream(silent)
    call = asyncio.create_task(world.post())
    await until(lambda: upstream.requests)
    call.cancel()
    async with asyncio.timeout(60):
        await upstream.closed.wait()
    record = await world.record()
    assert (record.status, record.error) == (499, "caller-gone")
    await world.idle()


async def test_a_caller_who_leaves_in_the_middle_of_a_body_ends_the_instances_call(world: World) -> None:
    async def reading(upstream: Upstream, reader: asyncio.StreamReader, _: asyncio.StreamWriter) -> None:
        upstream.requests.append(await read_head(reader))  # type: ignore[arg-type]
        try:
            while await reader.read(65_536):
                pass
        finally:
            upstream.closed.set()

    upstream = await world.upstream(reading)
    reader, writer = await asyncio.open_connection("127.0.0.1", world.port)
    writer.write(
        b"POST /ai/echo/x HTTP/1.1\r\nhost: x\r\nauthorization: Bearer ak_test\r\ncontent-length: 1000\r\n\r\npart"
    )
    await writer.drain()
    await until(lambda: upstream.requests)
    writer.close()
    async with asyncio.timeout(60):
        await upstream.closed.wait()
    await world.idle()
    assert reader is not None


async def test_a_call_is_recorded_with_its_key_its_instance_and_its_size(world: World) -> None:
    await world.upstream(answering(answer(b"12345", status="418 Teapot")))
    await world.post(content=b"123")
    record = await world.record()
    assert (record.algorithm, record.method, record.path, record.status) == ("echo", "POST", "/predict", 418)
    assert (record.bytes_in, record.bytes_out, record.error) == (3, 5, None)
    assert record.key_id is not None
    assert record.instance_id is not None
    assert record.duration_us > 0
