"""Running a task again: a new one that names the old one, with what was to be different."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any
from uuid import UUID, uuid4

import pytest

from .serving import served

if TYPE_CHECKING:
    import httpx

    from .conftest import Platform

OLD, NEW = "a" * 40, "b" * 40


async def again(platform: Platform, task_id: object, body: Any = None, *, owner: str = "key-1") -> httpx.Response:
    async with served(platform, owner=owner) as client:
        content = b"" if body is None else json.dumps(body).encode()
        return await client.post(f"/internal/tasks/{task_id}/rerun", content=content)


async def stored(platform: Platform, answer: httpx.Response) -> Any:
    (row,) = await platform.rows("SELECT * FROM tasks WHERE id = :id", id=UUID(answer.json()["id"]))
    return row


async def test_a_task_runs_again_as_it_was_and_says_of_which_it_is(platform: Platform) -> None:
    platform.route()
    first = await platform.submit(
        input={"a": 1}, priority=4, timeout=9, max_attempts=7, metadata={"x": "y"}, callback_url="http://127.0.0.1/c",
        idempotency_key="k", version="c" * 7,
    )  # fmt: skip
    async with platform.worker():
        await platform.ended(first.id)
        answer = await again(platform, first.id)
        assert answer.status_code == 202, answer.text
        assert answer.json()["rerun_of"] == str(first.id)
        view = await platform.ended(UUID(answer.json()["id"]))
    assert view.state == "succeeded"
    row = await stored(platform, answer)
    assert bytes(row.body) == b'{"a":1}'
    assert (row.priority, row.timeout_s, row.max_attempts, row.metadata) == (4, 9, 7, {"x": "y"})
    assert (row.callback_url, row.version, row.idempotency_key) == ("http://127.0.0.1/c", "c" * 7, None)
    assert (await platform.task(first.id)).rerun_of is None


@pytest.mark.parametrize(
    ("wanted", "body"),
    [
        ({"params": {"b": 3}}, {"a": 1, "b": 3}),
        ({"input": {"c": 1}}, {"c": 1}),
        ({"input": {"c": 1}, "params": {"d": 2}}, {"c": 1, "d": 2}),
        ({"input": [1]}, [1]),
        ({"input": None}, None),
    ],
)
@pytest.mark.parametrize("size", [1, 40_000])
async def test_input_and_parameters_may_be_others(platform: Platform, wanted: Any, body: Any, size: int) -> None:
    more = {"text": "x" * size}
    first = await platform.submit(input={"a": 1, "b": 2} | more)
    answer = await again(platform, first.id, wanted)
    assert answer.status_code == 202, answer.text
    row = await stored(platform, answer)
    made = bytes(row.body) if row.body is not None else await platform.store.get(row.body_key)
    expected = body | more if isinstance(body, dict) and "a" in body else body
    assert json.loads(made) == expected
    assert row.body_key is None or str(row.id) in row.body_key


async def test_a_large_input_is_shared_and_files_stay_files(platform: Platform) -> None:
    async with served(platform) as client:
        files: list[tuple[str, Any]] = [("task", (None, '{"algorithm": "echo"}')), ("f", ("f", b"x", "image/png"))]
        first = (await client.post("/internal/tasks", files=files)).json()
    answer = await again(platform, first["id"])
    assert answer.status_code == 202
    row = await stored(platform, answer)
    assert row.body_key == f"tasks/{first['id']}/input"
    assert row.content_type.startswith("multipart/form-data")
    refused = await again(platform, first["id"], {"params": {"a": 1}})
    assert refused.status_code == 422
    assert "files" in refused.json()["detail"]


async def test_another_version_and_receiver_or_none(platform: Platform) -> None:
    first = await platform.submit(input=1, version=OLD, callback_url="http://127.0.0.1/old")
    other = await stored(
        platform, await again(platform, first.id, {"version": NEW, "callback_url": "http://127.0.0.1/new"})
    )
    assert (other.version, other.callback_url) == (NEW, "http://127.0.0.1/new")
    none = await stored(platform, await again(platform, first.id, {"version": None, "callback_url": None}))
    assert (none.version, none.callback_url) == (None, None)


async def test_a_rerun_has_an_idempotency_key_of_its_own(platform: Platform) -> None:
    first = await platform.submit(input=1, idempotency_key="k")
    one = await again(platform, first.id, {"idempotency_key": "again"})
    same = await again(platform, first.id, {"idempotency_key": "again"})
    assert (one.status_code, same.status_code) == (202, 200)
    assert one.json()["id"] == same.json()["id"] != str(first.id)
    assert (await again(platform, first.id, {"idempotency_key": "again", "input": 2})).status_code == 409
    assert (await again(platform, first.id, {"idempotency_key": "k"})).status_code == 409
    assert (await again(platform, one.json()["id"], {"idempotency_key": "again"})).status_code == 409


@pytest.mark.parametrize(
    ("body", "status", "says"),
    [
        ({"version": "main"}, 422, "version"),
        ({"versoin": NEW}, 422, "versoin"),
        ({"params": [1]}, 422, "params"),
        ({"params": {"a": 1}}, 422, "object"),
        ({"callback_url": "http://169.254.169.254/"}, 422, "public"),
        ({"idempotency_key": "a\0"}, 422, "NUL"),
        ([], 422, "body"),
    ],
)
async def test_a_rerun_that_makes_no_sense_is_refused(platform: Platform, body: Any, status: int, says: str) -> None:
    first = await platform.submit(input=1)
    answer = await again(platform, first.id, body)
    assert answer.status_code == status, answer.text
    assert says in answer.json()["detail"]
    assert len(await platform.rows("SELECT 1 FROM tasks")) == 1


async def test_only_what_one_may_see_runs_again(platform: Platform) -> None:
    first = await platform.submit(input=1)
    assert (await again(platform, first.id, owner="key-2")).status_code == 404
    assert (await again(platform, uuid4())).status_code == 404


async def test_an_input_that_was_removed_cannot_run_again(platform: Platform) -> None:
    first = await platform.submit(input={"text": "x" * 40_000})
    await platform.store.remove(f"tasks/{first.id}/input")
    for body in (None, {"params": {"a": 1}}):
        answer = await again(platform, first.id, body)
        assert answer.status_code == 409
        assert "removed" in answer.json()["detail"]
    assert (await again(platform, first.id, {"input": 1})).status_code == 202
