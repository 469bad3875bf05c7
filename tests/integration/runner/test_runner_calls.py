"""A call of an algorithm that becomes a task: its body as it came, whatever it is."""

from __future__ import annotations

import os
from collections.abc import AsyncIterator
from typing import TYPE_CHECKING
from uuid import UUID

import pytest
from aiohttp import web

from .serving import served

if TYPE_CHECKING:
    from .conftest import Platform

OF = "/internal/tasks/of/"


async def body_and_type(request: web.Request) -> web.StreamResponse:
    return web.Response(body=await request.read(), headers={"content-type": request.headers["content-type"]})


@pytest.mark.parametrize("size", [0, 3, 50_000])
@pytest.mark.parametrize(
    "type_", ["application/octet-stream", "multipart/form-data; boundary=b", "text/csv; header=present"]
)
async def test_the_algorithm_gets_the_body_of_the_call(platform: Platform, size: int, type_: str) -> None:
    platform.algorithm.behaviour = body_and_type
    platform.route()
    body = os.urandom(size)
    async with platform.worker():
        async with served(platform) as client:
            answer = await client.post(OF + "echo", content=body, headers={"content-type": type_})
        assert answer.status_code == 202, answer.text
        view = await platform.ended(UUID(answer.json()["id"]))
    assert (view.state, view.result_content_type) == ("succeeded", type_)
    stored = await platform.desk.result(view.id, owner=None)
    assert (stored.inline or await platform.store.get(stored.key)) == (body or b"{}")


async def test_json_may_run_again_with_other_parameters_unless_it_is_none(platform: Platform) -> None:
    type_ = {"content-type": "Application/JSON; charset=utf-8"}
    async with served(platform) as client:
        fine = (await client.post(OF + "echo", content=b'{"a":1}', headers=type_)).json()
        wrong = (await client.post(OF + "echo", content=b'{"a":', headers=type_)).json()
        again = await client.post(f"/internal/tasks/{fine['id']}/rerun", json={"params": {"b": 2}})
        refused = await client.post(f"/internal/tasks/{wrong['id']}/rerun", json={"params": {"b": 2}})
    assert (again.status_code, refused.status_code) == (202, 422)
    (row,) = await platform.rows("SELECT body FROM tasks WHERE id = :id", id=UUID(again.json()["id"]))
    assert bytes(row.body) == b'{"a":1,"b":2}'


async def test_a_call_that_cannot_become_a_task_is_refused(platform: Platform) -> None:
    platform.limits = platform.limits.model_copy(update={"max_files_bytes": 100_000})

    async def endless() -> AsyncIterator[bytes]:
        while True:
            yield b"x" * 50_000

    async with served(platform) as client:
        unknown = await client.post(OF + "nobody", content=endless())
        undeclared = await client.post(OF + "echo", content=endless())
        declared = await client.post(OF + "echo", content=b"", headers={"content-length": "100001"})
        type_ = await client.post(OF + "echo", content=b"", headers={"content-type": "x" * 300})
    assert [one.status_code for one in (unknown, undeclared, declared, type_)] == [404, 413, 413, 400]
    assert not await platform.rows("SELECT 1 FROM tasks")
    assert not platform.store.keys
