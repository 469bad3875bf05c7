"""Which exceptions say that a server is away, which that something is short, and which neither; real ones."""

from __future__ import annotations

import asyncio
import errno
import os
import socket
import ssl
from pathlib import Path

import aiohttp
import asyncpg
import pytest
from anyio import connect_tcp
from sqlalchemy import text
from sqlalchemy.exc import DBAPIError, IntegrityError, OperationalError
from sqlalchemy.ext.asyncio import create_async_engine

from algodock_common.errors import AlgoDockError, Unavailable
from algodock_common.messaging import is_retryable
from algodock_common.outages import is_infrastructure, is_shortage
from algodock_common.web.problems import unexpected_error


@pytest.fixture
def nobody() -> int:
    """Return a port of the loopback at which nobody listens."""
    with socket.socket() as bound:
        bound.bind(("127.0.0.1", 0))
        return int(bound.getsockname()[1])


async def by_asyncpg(host: str, port: int) -> None:
    await asyncpg.connect(f"postgresql://a:b@{host}:{port}/x", timeout=5)


async def by_sqlalchemy(host: str, port: int) -> None:
    engine = create_async_engine(f"postgresql+asyncpg://a:b@{host}:{port}/x")
    async with engine.connect() as connection:
        await connection.execute(text("SELECT 1"))


async def by_aiohttp(host: str, port: int) -> None:
    async with aiohttp.ClientSession() as session, session.get(f"http://{host}:{port}/"):
        pass


async def by_anyio(host: str, port: int) -> None:
    await connect_tcp(host, port)


async def by_asyncio(host: str, port: int) -> None:
    await asyncio.open_connection(host, port)


CLIENTS = [by_asyncpg, by_sqlalchemy, by_aiohttp, by_anyio, by_asyncio]


@pytest.mark.parametrize("call", CLIENTS)
@pytest.mark.parametrize("host", ["127.0.0.1", "localhost", "nobody.invalid"])
async def test_a_server_that_cannot_be_reached_is_away_whoever_calls(call: object, host: str, nobody: int) -> None:
    with pytest.raises(OSError) as caught:  # noqa: PT011  # its kind is what is tested
        await call(host, nobody)  # type: ignore[operator]
    assert is_infrastructure(caught.value)
    assert is_retryable(caught.value)
    assert unexpected_error(caught.value, path="/").status == 503


async def test_addresses_that_fail_differently_are_one_server_that_is_away(
    nobody: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """``asyncio`` then raises an ``OSError`` that has a text and nothing else."""

    async def two_addresses(*_: object, **__: object) -> list[tuple[object, ...]]:
        return [
            (socket.AF_INET, socket.SOCK_STREAM, 6, "", ("127.0.0.1", nobody)),
            (socket.AF_INET, socket.SOCK_STREAM, 6, "", ("127.0.0.2", nobody)),
        ]

    monkeypatch.setattr(asyncio.get_running_loop(), "getaddrinfo", two_addresses)
    with pytest.raises(OSError, match="Multiple exceptions") as caught:
        await asyncio.open_connection("two-addresses", nobody)
    assert caught.value.errno is None
    assert is_infrastructure(caught.value)


async def test_a_unix_socket_that_is_not_there_is_a_server_that_is_away(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError) as caught:
        await asyncpg.connect(host=str(tmp_path), user="a", database="x")
    assert is_infrastructure(caught.value)


async def test_a_connection_that_the_peer_closes_is_a_server_that_is_away() -> None:
    async def hang_up(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.transport.abort()

    async with await asyncio.start_server(hang_up, "127.0.0.1", 0) as server:
        port = server.sockets[0].getsockname()[1]
        with pytest.raises((OSError, asyncpg.PostgresError)) as caught:
            await by_asyncpg("127.0.0.1", port)
    assert is_infrastructure(caught.value)


def open_missing(folder: Path) -> None:
    (folder / "missing").read_bytes()


def list_a_file(folder: Path) -> None:
    (folder / "file").touch()
    list((folder / "file").iterdir())


def read_a_folder(folder: Path) -> None:
    folder.read_bytes()


def make_twice(folder: Path) -> None:
    folder.mkdir()


@pytest.mark.parametrize("act", [open_missing, list_a_file, read_a_folder, make_twice])
def test_a_file_that_is_not_as_expected_is_no_server(act: object, tmp_path: Path) -> None:
    with pytest.raises(OSError) as caught:  # noqa: PT011  # its kind is what is tested
        act(tmp_path)  # type: ignore[operator]
    assert not is_infrastructure(caught.value)
    assert not is_retryable(caught.value)
    assert unexpected_error(caught.value, path="/").status == 500


async def test_a_program_that_is_not_there_is_no_server(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError) as caught:
        await asyncio.create_subprocess_exec(tmp_path / "missing")
    assert not is_infrastructure(caught.value)


@pytest.mark.parametrize(
    "error",
    [
        PermissionError(errno.EACCES, os.strerror(errno.EACCES), "/etc/shadow"),
        OSError(errno.EROFS, os.strerror(errno.EROFS), "/x"),
        OSError(errno.EIO, os.strerror(errno.EIO), "/x"),
        OSError("an OSError of somebody's own"),
        ssl.SSLCertVerificationError(1, "certificate verify failed"),
        IntegrityError("INSERT", {}, Exception()),
        ValueError("a bug"),
    ],
    ids=repr,
)
def test_what_will_not_pass_is_not_tried_again(error: Exception) -> None:
    assert not is_infrastructure(error)
    assert not is_retryable(error)


class Collision(Exception):
    """As asyncpg's: an error that carries PostgreSQL's code."""

    sqlstate = "40P01"


@pytest.mark.parametrize(
    "error",
    [
        OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), "/x"),
        OSError(errno.EMFILE, os.strerror(errno.EMFILE)),
        MemoryError(),
        DBAPIError("UPDATE", {}, Collision()),
    ],
    ids=repr,
)
def test_a_shortage_is_retried_but_not_without_end(error: Exception) -> None:
    assert is_shortage(error)
    assert is_retryable(error)
    assert not is_infrastructure(error)
    assert unexpected_error(error, path="/").status == 503


@pytest.mark.parametrize(
    ("error", "away"),
    [
        (ConnectionResetError(), True),
        (TimeoutError(), True),
        (OperationalError("SELECT", {}, Exception()), True),
        (Unavailable("typed errors speak for themselves"), False),
        (AlgoDockError("and so does this"), False),
    ],
)
def test_only_servers_that_are_away_are_waited_for(error: Exception, *, away: bool) -> None:
    assert is_infrastructure(error) is away
