"""Tasks with files: streamed into one object, called with it; and every form that is none."""

from __future__ import annotations

import asyncio
import hashlib
import json
import os
import socket
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import httpx
import pytest
from aiohttp import BodyPartReader, web

from algodock_common.settings import ObjectStoreSettings
from algodock_common.storage import MinioObjectStore

from .serving import served

if TYPE_CHECKING:
    from .conftest import Platform

TASKS = "/internal/tasks"
Files = list[tuple[str, Any]]


def task_part(**body: Any) -> tuple[str, Any]:
    return ("task", (None, json.dumps({"algorithm": "echo"} | body), "application/json"))


async def sent(platform: Platform, files: Files) -> httpx.Response:
    async with served(platform) as client:
        return await client.post(TASKS, files=files)


async def form(request: web.Request) -> web.StreamResponse:
    """Answer with what each part of the form was."""
    found = [
        [part.name, part.filename, part.headers.get("content-type"), bytes(await part.read()).hex()]
        async for part in await request.multipart()
        if isinstance(part, BodyPartReader)
    ]
    return web.json_response(found)


async def test_the_algorithm_gets_the_input_and_the_files_as_one_form(platform: Platform) -> None:
    platform.algorithm.behaviour = form
    platform.route()
    files: Files = [
        task_part(input={"text": "grüße", "deep": {"a": [1]}}, params={"low": 4}),
        ("image", ('ünïcode "q".png', b"\x89PNG\r\n--\r\n", "image/png")),
        ("image", ("二.png", b"", "image/png")),
        ("note", (None, "plain")),
    ]
    async with platform.worker():
        answer = await sent(platform, files)
        assert answer.status_code == 202, answer.text
        view = await platform.ended(answer.json()["id"])
    assert view.state == "succeeded", view.error
    stored = await platform.desk.result(view.id, owner=None)
    assert json.loads(stored.inline or b"") == [
        ["text", None, None, "grüße".encode().hex()],
        ["deep", None, None, b'{"a": [1]}'.hex()],
        ["low", None, None, b"4".hex()],
        ["image", "ünïcode %22q%22.png", "image/png", b"\x89PNG\r\n--\r\n".hex()],
        ["image", "二.png", "image/png", ""],
        ["note", None, None, b"plain".hex()],
    ]


async def test_an_algorithm_of_the_sdk_gets_files_by_its_parameters(platform: Platform, tmp_path: Path) -> None:
    source = (
        "import hashlib\n"
        "def predict(image: bytes, low: int, title: str = 'none', more: list[bytes] = ()):\n"
        "    return {'sha': hashlib.sha256(image).hexdigest(), 'low': low, 'title': title, 'more': len(more)}\n"
    )
    (tmp_path / "ai_algorithm.py").write_text(source)
    content = os.urandom(3_000_000)
    files: Files = [
        task_part(input={"title": "5"}, params={"low": 40}),
        ("image", ("x.bin", content, "application/octet-stream")),
        ("more", ("1", b"1", "text/plain")),
        ("more", ("2", b"2", "text/plain")),
    ]
    async with sdk_server(tmp_path) as url, platform.worker():
        platform.route(base_url=url)
        answer = await sent(platform, files)
        assert answer.status_code == 202, answer.text
        view = await platform.ended(answer.json()["id"])
    assert view.state == "succeeded", view.error
    result = json.loads((await platform.desk.result(view.id, owner=None)).inline or b"")
    assert result == {"sha": hashlib.sha256(content).hexdigest(), "low": 40, "title": "5", "more": 2}


@asynccontextmanager
async def sdk_server(folder: Path) -> AsyncIterator[str]:
    """Serve a folder's algorithm as the deployer does: in a process of its own."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    env = {"PATH": os.environ["PATH"], "HOST": "127.0.0.1", "PORT": str(port), "ALGODOCK_NAME": "echo"}
    process = await asyncio.create_subprocess_exec(sys.executable, "-m", "algodock_sdk", cwd=folder, env=env)
    try:
        async with asyncio.timeout(60), httpx.AsyncClient() as client:
            while True:
                try:
                    await client.get(f"http://127.0.0.1:{port}/health")
                    break
                except httpx.ConnectError:
                    await asyncio.sleep(0.05)
        yield f"http://127.0.0.1:{port}"
    finally:
        process.kill()
        await process.wait()


async def test_the_same_key_and_files_are_the_same_task_and_are_stored_once(platform: Platform) -> None:
    def files(content: bytes = b"1", name: str = "a.bin", type_: str = "image/png", field: str = "image") -> Files:
        return [task_part(idempotency_key="k"), (field, (name, content, type_))]

    first = await sent(platform, files())
    again = await sent(platform, files())
    assert (first.status_code, again.status_code) == (202, 200)
    assert again.json()["id"] == first.json()["id"]
    for other in (files(content=b"2"), files(name="b.bin"), files(type_="image/gif"), files(field="picture")):
        assert (await sent(platform, other)).status_code == 409
    assert platform.store.keys == [f"tasks/{first.json()['id']}/input"]


async def test_a_form_without_files_is_a_task_like_any_other(platform: Platform) -> None:
    answer = await sent(platform, [task_part(input={"a": 1})])
    assert answer.status_code == 202
    (row,) = await platform.rows("SELECT body, content_type FROM tasks")
    assert (bytes(row.body), row.content_type) == (b'{"a":1}', "application/json")


@pytest.mark.parametrize(
    ("name", "kept"),
    [("../../etc/passwd", "passwd"), ("C:\\x\\y.png", "y.png"), ("..", "file"), ("/", "file"), ("a/b/", "file")],
)
async def test_a_files_name_names_no_place(platform: Platform, name: str, kept: str) -> None:
    raw = '--b\r\ncontent-disposition: form-data; name="task"\r\n\r\n{"algorithm":"echo"}\r\n--b\r\n'
    raw += f'content-disposition: form-data; name="f"; filename="{name}"\r\n\r\nx\r\n--b--\r\n'
    async with served(platform) as client:
        answer = await client.post(TASKS, content=raw, headers={"content-type": "multipart/form-data; boundary=b"})
    assert answer.status_code == 202, answer.text
    (key,) = platform.store.keys
    assert f'filename="{kept}"'.encode() in await platform.store.get(key)


FINE = b'--b\r\ncontent-disposition: form-data; name="task"\r\n\r\n{"algorithm":"echo"}\r\n'
FILE = b'--b\r\ncontent-disposition: form-data; name="f"; filename="f"\r\n\r\nx\r\n'
END = b"--b--\r\n"


@pytest.mark.parametrize(
    ("body", "status", "says"),
    [
        (FILE + END, 422, "first part"),
        (FILE + FINE + END, 422, "first part"),
        (END, 422, "first part"),
        (FINE + FILE + FINE + END, 422, "more than one"),
        (FINE + FILE, 400, "ends in the middle"),
        (FINE, 400, "ends in the middle"),
        (b"", 400, "ends in the middle"),
        (b"what is this", 400, "multipart"),
        (FINE.replace(b'{"algorithm":"echo"}', b"{nothing") + FILE + END, 400, "JSON"),
        (FINE.replace(b'{"algorithm":"echo"}', b'{"inptu":1}') + FILE + END, 422, "inptu"),
        (FINE.replace(b'"echo"', b'"nobody"') + FILE + END, 404, "nobody"),
        (FINE.replace(b'"echo"', b'"echo","input":{"f":1}') + FILE + END, 422, "same name"),
        (FINE.replace(b'"echo"', b'"echo","input":[1]') + FILE + END, 422, "object"),
        (FINE.replace(b'"echo"', b'"echo","callback_url":"http://169.254.169.254/"') + FILE + END, 422, "public"),
        (FINE + FILE.replace(b'name="f"', b'name=""') + END, 422, "name"),
        (FINE + FILE.replace(b'name="f"; ', b"", 1) + END, 422, "name"),
        (FINE + FILE.replace(b'name="f"', b'name="a\0b"') + END, 422, "printable"),
        (FINE + FILE.replace(b'name="f"', b'name="' + b"x" * 300 + b'"') + END, 422, "255"),
        (FINE + FILE.replace(b'name="f"', b'name="\xff"') + END, 422, "UTF-8"),
        (FINE + FILE.replace(b'filename="f"', b'filename="\x1b[2J"') + END, 422, "printable"),
        (FINE + FILE.replace(b"form-data", b"attachment") + END, 422, "form-data"),
        (FINE + FILE.replace(b"\r\n\r\n", b"\r\nx-long: " + b"x" * 10_000 + b"\r\n\r\n") + END, 400, "multipart"),
        (FINE + FILE.replace(b"\r\n\r\n", b"\r\ncontent-type: \xc3\xa9\r\n\r\n") + END, 422, "ASCII"),
        (FINE + FILE * 1001 + END, 422, "1000"),
    ],
)
async def test_a_form_that_is_no_task_is_refused_and_leaves_nothing(
    platform: Platform, body: bytes, status: int, says: str
) -> None:
    async with served(platform) as client:
        answer = await client.post(TASKS, content=body, headers={"content-type": "multipart/form-data; boundary=b"})
    assert answer.status_code == status, answer.text
    assert says in answer.json()["detail"]
    assert not await platform.rows("SELECT 1 FROM tasks")
    assert not platform.store.keys


@pytest.mark.parametrize(
    "type_", ["multipart/form-data", "multipart/mixed; boundary=b", f"multipart/form-data; boundary={'x' * 71}"]
)
async def test_a_form_without_a_boundary_is_none(platform: Platform, type_: str) -> None:
    async with served(platform) as client:
        answer = await client.post(TASKS, content=FINE + FILE + END, headers={"content-type": type_})
    assert answer.status_code == 400
    assert "boundary" in answer.json()["detail"]


async def test_files_past_the_limit_are_refused_before_they_come_or_when_they_turn_out_to_be(
    platform: Platform,
) -> None:
    platform.limits = platform.limits.model_copy(update={"max_files_bytes": 100_000})
    read = 0

    async def endless() -> AsyncIterator[bytes]:
        nonlocal read
        yield FINE + FILE.removesuffix(b"\r\n")
        while True:
            read += 50_000
            yield b"x" * 50_000

    type_ = {"content-type": "multipart/form-data; boundary=b"}
    async with served(platform) as client:
        undeclared = await client.post(TASKS, content=endless(), headers=type_)
        declared = await client.post(TASKS, content=endless(), headers=type_ | {"content-length": "100001"})
    assert (undeclared.status_code, declared.status_code) == (413, 413)
    assert read <= 150_000
    assert not platform.store.keys


async def test_what_says_the_task_is_held_and_so_bounded_by_itself(platform: Platform) -> None:
    answer = await sent(platform, [task_part(input={"text": "x" * 300_000}), ("f", ("f", b"x", "image/png"))])
    assert answer.status_code == 413
    assert "'task' is larger than" in answer.json()["detail"]
    assert not platform.store.keys


async def test_an_object_store_that_is_away_accepts_nothing(platform: Platform) -> None:
    platform.store.available = False
    answer = await sent(platform, [task_part(), ("f", ("f", b"x", "image/png"))])
    assert answer.status_code == 503
    assert not await platform.rows("SELECT 1 FROM tasks")


async def test_a_large_file_passes_through_without_being_held(
    platform: Platform, object_store_settings: ObjectStoreSettings
) -> None:
    store = MinioObjectStore(object_store_settings)
    await store.ensure_bucket()
    platform.store = store  # type: ignore[assignment]  # the real one
    block, blocks = os.urandom(256 * 1024), 800
    highest = before = 0

    async def body() -> AsyncIterator[bytes]:
        nonlocal highest, before
        yield FINE + FILE.removesuffix(b"x\r\n")
        for number in range(blocks):
            yield bytes(bytearray(block))  # memory of its own, which whoever holds it keeps
            await asyncio.sleep(0)
            if number == 40:
                before = resident()
            highest = max(highest, resident())
        yield b"\r\n" + END

    type_ = {"content-type": "multipart/form-data; boundary=b"}
    async with served(platform) as client:
        answer = await client.post(TASKS, content=body(), headers=type_, timeout=100)
    assert answer.status_code == 202, answer.text
    info = await store.stat(f"tasks/{answer.json()['id']}/input")
    await store.remove(f"tasks/{answer.json()['id']}/input")
    await store.close()
    assert info is not None
    assert blocks * len(block) < info.size < blocks * len(block) + 1000
    assert highest - before < 40 * 2**20, f"{(highest - before) >> 20} MiB more for {info.size >> 20} MiB"


def resident() -> int:
    assert sys.platform == "linux"
    return int(Path("/proc/self/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")
