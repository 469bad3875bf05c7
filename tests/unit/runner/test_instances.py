"""Calls of instances that end badly: whose fault it was is said rightly."""

from __future__ import annotations

import asyncio
import tempfile
from collections.abc import AsyncIterator
from pathlib import Path
from uuid import uuid4

import pytest

from algodock_common.upstream import Pool
from algodock_runner.clients.instances import Call, CallFailed, HttpInstances
from algodock_runner.domain.retry import CONNECTION_LOST, Kind

LARGE = 3 * 2**20
"""More than a worker holds in memory, so that it goes to a file."""


@pytest.fixture
async def pool() -> AsyncIterator[Pool]:
    pool = Pool()
    yield pool
    await pool.close()


async def failure_of(pool: Pool, *, promised: int, sent: int, body: bytes | Path = b"{}") -> CallFailed:
    """Call an instance that promises an answer of so many bytes and sends so many."""

    async def instance(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(b"HTTP/1.1 200 OK\r\ncontent-type: image/png\r\ncontent-length: %d\r\n\r\n" % promised)
        writer.write(b"x" * sent)
        await writer.drain()
        writer.close()

    call = Call(uuid4(), 1, body, "application/json", timeout_s=20, max_answer_bytes=2 * LARGE)
    async with await asyncio.start_server(instance, "127.0.0.1", 0) as server:
        port = server.sockets[0].getsockname()[1]
        with pytest.raises(CallFailed) as failed:
            await HttpInstances(pool).predict(f"http://127.0.0.1:{port}", call)
    return failed.value


async def test_a_connection_that_breaks_is_lost(pool: Pool) -> None:
    failed = await failure_of(pool, promised=100, sent=10)
    assert (failed.failure.kind, failed.failure.error.type) == (Kind.TRANSIENT, CONNECTION_LOST)


async def test_a_task_for_a_grpc_service_fails_for_good_and_says_why(pool: Pool) -> None:
    call = Call(uuid4(), 1, b"{}", "application/json", timeout_s=20, max_answer_bytes=LARGE)
    with pytest.raises(CallFailed, match="gRPC") as failed:
        await HttpInstances(pool).predict("grpc://127.0.0.1:1", call)
    assert (failed.value.failure.kind, failed.value.sent) == (Kind.PERMANENT, False)
    assert "speaks gRPC" in failed.value.failure.error.message
    assert await HttpInstances(pool).cancel("grpc://127.0.0.1:1", uuid4()) == "stopped"


async def test_an_answer_that_finds_no_room_here_is_no_lost_connection(
    pool: Pool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Here the folder of temporary files is gone, which a full disk is like."""
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path / "gone"))
    failed = await failure_of(pool, promised=LARGE, sent=LARGE)
    assert (failed.failure.kind, failed.failure.error.type) == (Kind.TRANSIENT, "FileNotFoundError")
    assert "cannot be read or written on the worker's machine" in failed.failure.error.message


async def test_an_input_that_became_unreadable_here_is_no_lost_connection(pool: Pool, tmp_path: Path) -> None:
    failed = await failure_of(pool, promised=1, sent=1, body=tmp_path / "gone")
    assert (failed.failure.kind, failed.failure.error.type) == (Kind.TRANSIENT, "FileNotFoundError")
    assert "cannot be read or written on the worker's machine" in failed.failure.error.message
