"""An object store whose disk is full: it may have room later, so nobody calls that a refusal, and the words say it."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
from aiohttp import web

from algodock_common.settings import ObjectStoreSettings
from algodock_common.storage import MinioObjectStore, ObjectStoreUnavailable
from algodock_common.upstream import Pool as Upstream
from algodock_runner.clients.answers import Answer
from algodock_runner.clients.results import SignedResults
from tests.integration.runner.receiving import serving

SAID = "<Error><Code>{}</Code><Message>There is no room.</Message><Resource>/x</Resource></Error>"
FULL = pytest.mark.parametrize(("status", "code"), [(507, "XMinioStorageFull"), (500, "InternalError")])
"""What MinIO says of a full disk, and what other servers make of any error below them."""


@asynccontextmanager
async def full(status: int, code: str) -> AsyncIterator[str]:
    """Serve a store that takes nothing; give its URL."""

    async def refuse(request: web.Request) -> web.StreamResponse:
        await request.read()
        return web.Response(status=status, text=SAID.format(code), content_type="application/xml")

    async with serving(refuse) as url:
        yield url


def settings(url: str) -> ObjectStoreSettings:
    return ObjectStoreSettings.model_validate({"endpoint": url, "access_key": "access", "secret_key": "secret-key"})


async def content() -> AsyncIterator[bytes]:
    yield b"x"


async def put(store: MinioObjectStore, _: Path) -> object:
    return await store.put("a", b"x")


async def put_file(store: MinioObjectStore, path: Path) -> object:
    return await store.put_file("a", path)


async def put_stream(store: MinioObjectStore, _: Path) -> object:
    return await store.put_stream("a", content(), "image/png")


@FULL
@pytest.mark.parametrize("act", [put, put_file, put_stream])
async def test_what_finds_no_room_may_be_stored_later(
    tmp_path: Path, status: int, code: str, act: Callable[[MinioObjectStore, Path], Awaitable[object]]
) -> None:
    (tmp_path / "answer").write_bytes(b"1")
    async with full(status, code) as url:
        store = MinioObjectStore(settings(url))
        try:
            with pytest.raises(ObjectStoreUnavailable, match=code) as failed:
                await act(store, tmp_path / "answer")
        finally:
            await store.close()
    assert (failed.value.status, failed.value.retryable) == (503, True)


@FULL
async def test_a_result_that_finds_no_room_waits(status: int, code: str) -> None:
    pool = Upstream()
    try:
        async with full(status, code) as url:
            store = MinioObjectStore(settings(url))
            results = SignedResults(settings(url), store, pool)
            with pytest.raises(ObjectStoreUnavailable, match=str(status)):
                await results.put("tasks/x/1", Answer("text/plain", b"x", None, 1))
            await store.close()
    finally:
        await pool.close()
