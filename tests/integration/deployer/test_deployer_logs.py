"""What programs and builds wrote, over the deployer's HTTP."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta
from types import SimpleNamespace
from typing import TYPE_CHECKING
from uuid import uuid4

import httpx
import pytest
from fastapi import FastAPI
from pydantic import SecretStr

from algodock_common.errors import AlgoDockError
from algodock_common.settings import SecretSettings
from algodock_common.web import InternalClient
from algodock_common.web.problems import install_problem_handlers
from algodock_deployer import handlers
from algodock_deployer.routes import make_router

if TYPE_CHECKING:
    from .conftest import Deployer

TALKS = """
import sys
print("loaded the Model", flush=True)
print("a warning of the model", file=sys.stderr, flush=True)
"""


@pytest.fixture
async def inside(deployer: Deployer) -> AsyncIterator[InternalClient]:
    """Ask the deployer over HTTP, as the gateway does."""
    secrets = SecretSettings(secret_key=SecretStr("s" * 40))
    app = FastAPI()
    app.state.settings = SimpleNamespace(secrets=secrets)
    install_problem_handlers(app)
    app.include_router(make_router(deployer.context))
    async with InternalClient("http://deployer", secrets, transport=httpx.ASGITransport(app)) as client:
        yield client


async def test_lines_are_found_by_text_stream_and_time(deployer: Deployer, inside: InternalClient) -> None:
    await deployer.live("talks", deployer.program("one", before=TALKS))
    path = "/internal/services/talks/logs"
    found = await inside.get(path, params={"search": "MODEL"})
    assert found["lines"] == ["loaded the Model", "a warning of the model"] or found["lines"][::-1] == [
        "loaded the Model", "a warning of the model",
    ]  # fmt: skip
    assert {one["stream"] for one in found["entries"]} == {"stdout", "stderr"}
    assert (await inside.get(path, params={"search": "model", "stream": "stderr"}))["lines"] == [
        "a warning of the model"
    ]
    soon, long_ago = (datetime.now(UTC) + timedelta(minutes=minutes) for minutes in (1, -60))
    assert not (await inside.get(path, params={"since": soon.isoformat()}))["lines"]
    assert not (await inside.get(path, params={"until": long_ago.isoformat()}))["lines"]
    assert "serving one" in (await inside.get(path, params={"since": long_ago.isoformat()}))["lines"]

    await deployer.live("talks", deployer.program("two"))
    assert "loaded the Model" not in (await inside.get(path))["lines"], "it is of an earlier release"
    assert "loaded the Model" in (await inside.get(path, params={"search": "model"}))["lines"]


@pytest.mark.parametrize(
    "params",
    [{"follow": 1, "since": "2026-01-01T00:00:00Z"}, {"since": "2026-01-02", "until": "2026-01-01"}, {"since": "soon"}],
)
async def test_a_question_about_logs_that_cannot_be_is_refused(
    deployer: Deployer, inside: InternalClient, params: dict[str, str | int]
) -> None:
    name = f"asked-{uuid4().hex[:8]}"
    await deployer.push(name)
    refused = await _status(inside, f"/internal/services/{name}/logs", params)
    assert refused == 422


async def _status(inside: InternalClient, path: str, params: dict[str, str | int]) -> int:
    with pytest.raises(AlgoDockError) as refused:
        await inside.get(path, params=params)
    return refused.value.status


async def _events(inside: InternalClient, release: object, **params: int) -> list[dict[str, str]]:
    path = f"/internal/releases/{release}/build-log"
    response = await inside.request("GET", path, params={"sse": 1, **params})
    assert response.headers["content-type"].startswith("text/event-stream")
    parts = [part.splitlines() for part in response.text.split("\n\n") if part and not part.startswith(":")]
    return [dict(line.partition(": ")[::2] for line in lines) for lines in parts]


async def test_a_build_is_told_line_by_line_to_its_end_and_gone_on_from(
    deployer: Deployer, inside: InternalClient
) -> None:
    slow = deployer.program("one") | {"algodock.yaml": "build: echo first; sleep 1; echo second\n"}
    commit = await deployer.push("builds", slow)
    release = (await handlers.releases_of(deployer.context, "builds", commit=commit, limit=1))[0]
    async with asyncio.timeout(60):
        events = await _events(inside, release.id)  # begun before the build, over when it is
    texts = [one["data"] for one in events]
    assert texts.index("first") < texts.index("second")
    assert events[-1]["event"] == "end"
    assert json.loads(events[-1]["data"]) == {"state": "live", "reason": ""}
    first = texts.index("first")
    assert await _events(inside, release.id, after=int(events[first]["id"])) == events[first + 1 :]

    deployer.context.folders.build_log(release.id).unlink()
    await deployer.context.background.join(("log", release.id))
    assert await _events(inside, release.id, after=int(events[first]["id"])) == events[first + 1 :], "it was kept"


async def test_a_failed_build_ends_with_its_reason_and_an_unknown_one_is_404(
    deployer: Deployer, inside: InternalClient
) -> None:
    commit = await deployer.push("unbuilt", {"readme.txt": "nothing"})
    release = await deployer.release("unbuilt", commit, "failed")
    ended = json.loads((await _events(inside, release.id))[-1]["data"])
    assert ended["state"] == "failed"
    assert ended["reason"].startswith("detect:")
    assert await _status(inside, f"/internal/releases/{uuid4()}/build-log", {"sse": 1}) == 404
