"""What every object store does alike: the same cases against the fake and the server that ``S3_*`` names."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import parse_qs, urlsplit
from uuid import uuid4

import httpx
import pytest
from pydantic import SecretStr

from algodock_common.errors import InvalidInput
from algodock_common.settings import ObjectStoreSettings
from algodock_common.storage import (
    MinioObjectStore,
    ObjectNotFound,
    ObjectStore,
    ObjectStoreFailed,
    ObjectStoreUnavailable,
)
from algodock_common.testing import FakeObjectStore

MIB = 2**20


@dataclass(frozen=True)
class Case:
    """A store, a prefix that is this test's own, and how its links are followed."""

    store: ObjectStore
    prefix: str
    follow: Callable[[str], Awaitable[httpx.Response]]

    def key(self, name: str = "object") -> str:
        return f"{self.prefix}/{name}"


async def over_http(url: str) -> httpx.Response:
    async with httpx.AsyncClient(trust_env=False) as client:
        return await client.get(url)


@pytest.fixture(params=["fake", "server"])
async def case(request: pytest.FixtureRequest) -> AsyncIterator[Case]:
    prefix = f"contract/{uuid4().hex}"
    if request.param == "fake":
        fake = FakeObjectStore()
        yield Case(fake, prefix, fake.follow)
        return
    store = MinioObjectStore(request.getfixturevalue("object_store_settings"))
    await store.ensure_bucket()
    yield Case(store, prefix, over_http)
    for info in await store.list(prefix):
        await store.remove(info.key)
    await store.close()


@pytest.fixture
async def server(object_store_settings: ObjectStoreSettings) -> AsyncIterator[MinioObjectStore]:
    store = MinioObjectStore(object_store_settings)
    await store.ensure_bucket()
    yield store
    await store.close()


async def parts(*chunks: bytes) -> AsyncIterator[bytes]:
    for chunk in chunks:
        await asyncio.sleep(0)
        yield chunk


async def test_what_was_put_is_what_is_got(case: Case) -> None:
    made = await case.store.put(case.key(), b"\x00result", "image/png", {"release": "r1"})

    found = await case.store.stat(case.key())
    assert await case.store.get(case.key()) == b"\x00result"
    assert found is not None
    assert (found.key, found.size, found.content_type) == (case.key(), 7, "image/png")
    assert found.metadata == {"release": "r1"} == made.metadata
    assert found.etag == made.etag
    assert found.modified_at.tzinfo is not None


async def test_an_empty_object_is_an_object(case: Case) -> None:
    await case.store.put(case.key(), b"")

    assert await case.store.get(case.key()) == b""


async def test_putting_again_replaces(case: Case) -> None:
    await case.store.put(case.key(), b"one", "text/plain")
    await case.store.put(case.key(), b"two", "text/html")

    found = await case.store.stat(case.key())
    assert await case.store.get(case.key()) == b"two"
    assert found is not None
    assert found.content_type == "text/html"


async def test_keys_may_have_spaces_and_letters_of_any_language(case: Case) -> None:
    key = case.key("a b/画像+1%.png")
    await case.store.put(key, b"x")

    assert await case.store.get(key) == b"x"
    assert [info.key for info in await case.store.list(case.prefix)] == [key]


async def test_what_is_not_there_says_so(case: Case, tmp_path: Path) -> None:
    with pytest.raises(ObjectNotFound):
        await case.store.get(case.key())
    with pytest.raises(ObjectNotFound):
        await case.store.get_file(case.key(), tmp_path / "copy")
    assert await case.store.stat(case.key()) is None
    assert list(tmp_path.iterdir()) == []


async def test_removing_is_idempotent(case: Case) -> None:
    await case.store.put(case.key(), b"x")

    await case.store.remove(case.key())
    await case.store.remove(case.key())

    assert await case.store.stat(case.key()) is None


async def test_a_listing_has_all_below_a_prefix_by_key(case: Case) -> None:
    for name in ("b", "a/2", "a/1", "ab"):
        await case.store.put(case.key(name), name.encode())

    assert [info.key for info in await case.store.list(case.key("a/"))] == [case.key("a/1"), case.key("a/2")]
    assert [(info.key, info.size) for info in await case.store.list(case.prefix)] == [
        (case.key("a/1"), 3),
        (case.key("a/2"), 3),
        (case.key("ab"), 2),
        (case.key("b"), 1),
    ]
    assert list(await case.store.list(case.key("none"))) == []


async def test_a_listing_is_read_in_pages(case: Case) -> None:
    keys = [case.key(name) for name in ("a/1", "a/2", "a-b", "b", "c/d/e")]
    for key in keys:
        await case.store.put(key, b"x")
    read: list[str] = []
    while page := await case.store.list(case.prefix, after=read[-1] if read else "", limit=2):
        assert len(page) <= 2
        read += [info.key for info in page]
    assert read == sorted(keys)


@pytest.mark.parametrize(
    "chunks", [(), (b"one", b"", b"two"), (b"a" * (5 * MIB), b"b"), (b"c" * (7 * MIB + 3), b"d" * (6 * MIB))]
)
async def test_a_stream_of_unknown_length_arrives_whole(case: Case, chunks: tuple[bytes, ...]) -> None:
    made = await case.store.put_stream(case.key(), parts(*chunks), "application/gzip", {"commit": "abc"})

    found = await case.store.stat(case.key())
    assert await case.store.get(case.key()) == b"".join(chunks)
    assert made.size == sum(map(len, chunks))
    assert found is not None
    assert (found.content_type, dict(found.metadata)) == ("application/gzip", {"commit": "abc"})


@pytest.mark.parametrize("before_it_breaks", [10, 6 * MIB])
async def test_a_stream_that_breaks_stores_nothing(case: Case, before_it_breaks: int) -> None:
    async def breaks() -> AsyncIterator[bytes]:
        yield b"x" * before_it_breaks
        raise ConnectionResetError("the sender went away")

    with pytest.raises(ConnectionResetError):
        await case.store.put_stream(case.key(), breaks())

    assert await case.store.stat(case.key()) is None


async def test_a_cancelled_upload_stores_nothing_and_frees_its_thread(case: Case) -> None:
    reached = asyncio.Event()

    async def hangs() -> AsyncIterator[bytes]:
        yield b"x"
        reached.set()
        await asyncio.Event().wait()

    uploads = [asyncio.create_task(case.store.put_stream(case.key(f"{n}"), hangs())) for n in range(16)]
    await reached.wait()
    for upload in uploads:
        upload.cancel()
    outcomes = await asyncio.gather(*uploads, return_exceptions=True)

    assert all(isinstance(outcome, asyncio.CancelledError) for outcome in outcomes)
    async with asyncio.timeout(60):
        await case.store.put(case.key("after"), b"x")
    assert [info.key for info in await case.store.list(case.prefix)] == [case.key("after")]


async def test_files_go_in_and_come_out(case: Case, tmp_path: Path) -> None:
    source, copy = tmp_path / "bundle.tar.gz", tmp_path / "copy"
    source.write_bytes(bytes(range(256)) * 1000)

    made = await case.store.put_file(case.key(), source, "application/gzip")
    await case.store.get_file(case.key(), copy)

    assert made.size == 256_000
    assert copy.read_bytes() == source.read_bytes()
    assert {path.name for path in tmp_path.iterdir()} == {"bundle.tar.gz", "copy"}


async def test_a_link_reads_the_object_with_its_type(case: Case) -> None:
    await case.store.put(case.key("a b.png"), b"image", "image/png")

    response = await case.follow(await case.store.presigned_get(case.key("a b.png"), 60))

    assert (response.status_code, response.content) == (200, b"image")
    assert response.headers["content-type"] == "image/png"


async def test_a_changed_link_reads_nothing(case: Case) -> None:
    await case.store.put(case.key("mine"), b"mine")
    await case.store.put(case.key("yours"), b"yours")
    link = await case.store.presigned_get(case.key("mine"), 60)

    assert (await case.follow(link.replace("/mine?", "/yours?"))).status_code == 403


async def test_a_link_may_be_made_before_its_object(case: Case) -> None:
    link = await case.store.presigned_get(case.key(), 60)

    assert (await case.follow(link)).status_code == 404
    await case.store.put(case.key(), b"x")
    assert (await case.follow(link)).content == b"x"


@pytest.mark.parametrize("key", ["", "/absolute", "a/../b", "a//b", "./a", "a/", "a\nb", "ä" * 513])
async def test_a_key_that_is_no_clean_path_is_refused(case: Case, key: str) -> None:
    for call in (
        case.store.put(key, b"x"),
        case.store.get(key),
        case.store.stat(key),
        case.store.remove(key),
        case.store.presigned_get(key, 60),
    ):
        with pytest.raises(InvalidInput):
            await call


async def test_making_the_bucket_again_does_nothing(case: Case) -> None:
    await asyncio.gather(case.store.ensure_bucket(), case.store.ensure_bucket())
    await case.store.ping()


async def test_a_store_that_is_down_is_unavailable(object_store_settings: ObjectStoreSettings) -> None:
    fake = FakeObjectStore()
    fake.available = False
    dead = MinioObjectStore(object_store_settings.model_copy(update={"endpoint": "http://127.0.0.1:9"}))
    for store in (fake, dead):
        for call in (store.put("a", b"x"), store.get("a"), store.stat("a"), store.list(), store.ping()):
            with pytest.raises(ObjectStoreUnavailable):
                await call
    await dead.close()


async def test_wrong_credentials_are_no_reason_to_retry(object_store_settings: ObjectStoreSettings) -> None:
    wrong = MinioObjectStore(object_store_settings.model_copy(update={"secret_key": SecretStr("wrong-secret-key")}))

    with pytest.raises(ObjectStoreFailed) as caught:
        await wrong.put("a", b"x")

    assert not caught.value.retryable
    await wrong.close()


async def test_a_large_form_is_stored_as_bytes(case: Case) -> None:
    made = await case.store.put_stream(case.key(), parts(bytes(6 * 2**20), b"--b"), "multipart/form-data; boundary=b")
    assert (made.size, made.content_type) == (6 * 2**20 + 3, "application/octet-stream")


async def test_a_store_that_lost_its_bucket_is_asked_again(
    object_store_settings: ObjectStoreSettings, tmp_path: Path
) -> None:
    store = MinioObjectStore(object_store_settings.model_copy(update={"bucket": f"lost-{uuid4().hex[:8]}"}))
    (tmp_path / "answer").write_bytes(b"1")
    with pytest.raises(ObjectStoreUnavailable, match="no bucket"):
        await store.put_file("a", tmp_path / "answer", "text/plain")
    await store.put_file("a", tmp_path / "answer", "text/plain")
    assert await store.get("a") == b"1"
    await store.close()


async def test_a_missing_bucket_is_not_ready(object_store_settings: ObjectStoreSettings) -> None:
    store = MinioObjectStore(object_store_settings.model_copy(update={"bucket": f"none-{uuid4().hex[:8]}"}))

    with pytest.raises(ObjectStoreUnavailable, match="no bucket"):
        await store.ping()
    await store.close()


async def test_links_begin_with_the_public_url(object_store_settings: ObjectStoreSettings) -> None:
    public = object_store_settings.model_copy(update={"public_url": "https://objects.example.com/"})
    store = MinioObjectStore(public)

    link = urlsplit(await store.presigned_get("tasks/1/1", 3600))

    assert (link.scheme, link.netloc, link.path) == ("https", "objects.example.com", f"/{public.bucket}/tasks/1/1")
    assert parse_qs(link.query)["X-Amz-Expires"] == ["3600"]
    assert public.secret_key.get_secret_value() not in link.query
    await store.close()


@pytest.mark.parametrize("url", ["127.0.0.1:9000", "ftp://store", "http://host/prefix", "http://"])
def test_an_endpoint_that_is_no_origin_is_refused(object_store_settings: ObjectStoreSettings, url: str) -> None:
    with pytest.raises(ValueError, match="host"):
        MinioObjectStore(object_store_settings.model_copy(update={"endpoint": url}))


async def test_many_small_objects_at_once(server: MinioObjectStore) -> None:
    prefix = f"contract/{uuid4().hex}"

    await asyncio.gather(*(server.put(f"{prefix}/{n:03}", b"x" * n) for n in range(100)))

    assert [info.size for info in await server.list(prefix)] == list(range(100))
    await asyncio.gather(*(server.remove(f"{prefix}/{n:03}") for n in range(100)))
