"""One request and its answer on connections of our own: bodies from files, early answers, what breaks."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from algodock_common.upstream import CannotConnect, ConnectionBroke, Origin, Pool, exchange

Serve = Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]
OK = b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok"
TOO_LARGE = b"HTTP/1.1 413 Too Large\r\ncontent-length: 2\r\n\r\nno"
LARGE = 8 * 2**20
"""More than sockets take before their reader reads."""


@pytest.fixture
async def pool() -> AsyncIterator[Pool]:
    pool = Pool()
    yield pool
    await pool.close()


@asynccontextmanager
async def serving(serve: Serve) -> AsyncIterator[Origin]:
    async def once(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            await serve(reader, writer)
        finally:
            writer.close()

    async with await asyncio.start_server(once, "127.0.0.1", 0) as server:
        yield Origin.of(f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}/base")


async def asked(pool: Pool, origin: Origin, body: bytes | Path = b"", **headers: str) -> tuple[int, bytes]:
    async with asyncio.timeout(60), exchange(pool, origin, "POST", "/x?y=1", headers, body) as answer:
        return answer.status, b"".join([part async for part in _parts(answer.read)])


async def _parts(read: Callable[[], Awaitable[bytes]]) -> AsyncIterator[bytes]:
    while part := await read():
        yield part


async def test_a_request_is_whole_and_the_connection_is_kept(pool: Pool) -> None:
    heads: list[bytes] = []

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        for _ in range(2):
            heads.append(await reader.readuntil(b"\r\n\r\n"))
            assert await reader.readexactly(4) == b"body"
            writer.write(OK)

    async with serving(serve) as origin:
        for _ in range(2):
            assert await asked(pool, origin, b"body", accept="*/*") == (200, b"ok")
    assert heads[0] == heads[1]  # both on one connection
    assert heads[0].split(b"\r\n") == [
        b"POST /base/x?y=1 HTTP/1.1",
        b"host: " + origin.authority,
        b"accept: */*",
        b"content-length: 4",
        b"",
        b"",
    ]


async def test_an_answer_that_nobody_read_is_not_taken_for_the_next_one(pool: Pool) -> None:
    answers = iter([b"old", b"new"])

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while await reader.read(2**16):
            writer.write(b"HTTP/1.1 200 OK\r\ncontent-length: 3\r\n\r\n" + next(answers))

    async with serving(serve) as origin:
        async with exchange(pool, origin, "POST", "/", {}) as answer:
            while not answer.complete:  # noqa: ASYNC110  # nothing tells of a body that nobody reads
                await asyncio.sleep(0.01)
        assert await asked(pool, origin) == (200, b"new")


async def test_a_file_is_sent_as_it_is_read(pool: Pool, tmp_path: Path) -> None:
    (tmp_path / "body").write_bytes(bytes(range(256)) * (LARGE // 256))

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        assert await reader.readexactly(LARGE) == (tmp_path / "body").read_bytes()
        writer.write(OK)

    async with serving(serve) as origin:
        assert await asked(pool, origin, tmp_path / "body") == (200, b"ok")


@pytest.mark.parametrize("closes", [False, True], ids=["it stays silent", "it closes"])
async def test_an_answer_before_the_body_was_sent_ends_the_sending(pool: Pool, tmp_path: Path, *, closes: bool) -> None:
    (tmp_path / "body").write_bytes(bytes(LARGE))
    over = asyncio.Event()

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(TOO_LARGE)
        await writer.drain()
        if closes:
            writer.write_eof()
        await over.wait()

    async with serving(serve) as origin:
        assert await asked(pool, origin, tmp_path / "body") == (413, b"no")
        assert pool.take_idle(origin) is None  # half a request stands on it
        over.set()


async def test_a_file_that_became_shorter_is_no_whole_request(pool: Pool, tmp_path: Path) -> None:
    path = tmp_path / "body"
    path.write_bytes(bytes(LARGE))

    async def serve(reader: asyncio.StreamReader, _: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        path.write_bytes(b"")
        while await reader.read(2**20):
            pass

    async with serving(serve) as origin:
        with pytest.raises(OSError, match="shorter"):
            await asked(pool, origin, path)


async def test_a_connection_that_ends_without_an_answer_broke(pool: Pool) -> None:
    async def serve(reader: asyncio.StreamReader, _: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")

    async with serving(serve) as origin:
        with pytest.raises(ConnectionBroke):
            await asked(pool, origin, b"body")
    with pytest.raises(CannotConnect):
        await asked(pool, origin)


@pytest.mark.parametrize("value", ["a\r\nx-other: b", "a\nb", "\x00", "文"])
async def test_a_value_that_cannot_stand_in_a_head_is_not_sent(pool: Pool, value: str) -> None:
    with pytest.raises(ValueError, match="cannot stand in a head"):
        await asked(pool, Origin.of("http://127.0.0.1:1"), accept=value)
