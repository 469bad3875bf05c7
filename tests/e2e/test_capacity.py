"""Capacity on the whole platform: one limit for calls and tasks together, and a service that sleeps and wakes."""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

import pytest

from tests.outside.platform import Platform, eventually, running_platform

pytestmark = pytest.mark.timeout(900)

MAIN = """
import asyncio
from starlette.applications import Starlette
from starlette.responses import JSONResponse
from starlette.routing import Route

open_ = most = 0

async def predict(request):
    global open_, most
    open_ += 1
    most = max(most, open_)
    await asyncio.sleep(0.05)
    open_ -= 1
    return JSONResponse({"most": most})

async def health(request):
    return JSONResponse({"status": "healthy"})

app = Starlette(routes=[Route("/predict", predict, methods=["POST"]), Route("/health", health)])
"""


@pytest.fixture(scope="module")
def platform(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Platform]:
    with running_platform(tmp_path_factory.mktemp("capacity"), workers=2) as running:
        yield running


@pytest.fixture(scope="module")
def name(platform: Platform, tmp_path_factory: pytest.TempPathFactory) -> str:
    """A service that takes two calls at once."""
    repository = platform.repository(tmp_path_factory.mktemp("code"), "capacity")
    files = {
        "main.py": MAIN,
        "requirements.txt": "starlette\nuvicorn\n",
        "algodock.yaml": "concurrency: 2\nqueue: 100\n",
    }
    commit = repository.commit(files)
    repository.push()
    platform.until_live(repository.name, commit)
    platform.answered(repository.name, {})
    return repository.name


def test_calls_and_tasks_of_several_processes_together_keep_the_limit(platform: Platform, name: str) -> None:
    tasks = [
        platform.call("POST", "/api/v1/tasks", json={"algorithm": name, "input": {}}).json()["id"] for _ in range(20)
    ]
    with ThreadPoolExecutor(10) as pool:
        answers = list(pool.map(lambda _: platform.predict(name, {}), range(30)))
    assert {one.status_code for one in answers} == {200}
    assert {platform.finished(task)["state"] for task in tasks} == {"succeeded"}
    assert platform.predict(name, {}).json()["most"] == 2


def test_an_idle_service_sleeps_and_a_call_or_a_task_wakes_it(platform: Platform, name: str) -> None:
    rule = {"min": 0, "max": 2, "cooldown_s": 1, "idle_s": 2}
    assert platform.call("POST", f"/api/v1/services/scale/{name}", json={"rule": rule}).status_code == 202

    def asleep() -> bool:
        service = platform.service(name)
        return not service["instances"] and service["message"].startswith("asleep")

    eventually(asleep)
    assert platform.predict(name, {}).status_code == 200
    eventually(asleep)
    task = platform.call("POST", "/api/v1/tasks", json={"algorithm": name, "input": {}}).json()
    assert platform.finished(task["id"])["state"] == "succeeded"
