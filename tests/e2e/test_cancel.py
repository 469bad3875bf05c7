"""Cancelling on a running platform: an async algorithm stops, a plain one is waited for or restarted."""

from __future__ import annotations

import os
import signal
import time
from pathlib import Path
from typing import Any

import pytest

from tests.outside.platform import Platform, eventually

ALGORITHM = """
import {clock}
import pathlib

{kind} predict(seconds: float, mark: str):
    beats = pathlib.Path(mark)
    for _ in range(int(seconds * 20)):
        beats.write_text(str({clock}.{now}))
        {sleep}(0.05)
    return {{"slept": seconds}}
"""
PLAIN = ALGORITHM.format(kind="def", clock="time", now="time()", sleep="time.sleep")
ASYNC = ALGORITHM.format(
    kind="async def", clock="asyncio", now="get_running_loop().time()", sleep="await asyncio.sleep"
)


class Sleeper:
    """A deployed algorithm whose work shows in a file for as long as it goes on."""

    def __init__(self, platform: Platform, folder: Path, source: str, *, manifest: str = "") -> None:
        self.platform = platform
        self.repository = platform.repository(folder, "sleeper")
        self.name = self.repository.name
        files = {"ai_algorithm.py": source} | ({"algodock.yaml": manifest} if manifest else {})
        commit = self.repository.commit(files)
        self.repository.push()
        platform.until_live(self.name, commit)
        platform.answered(self.name, {"seconds": 0, "mark": "x"})

    def begun(self, seconds: float, **body: Any) -> tuple[str, Path]:
        """Submit a task and return it when its work has begun."""
        home = Path(self.platform.environment["ALGODOCK_DATA_DIR"]) / "services" / self.name / "home"
        mark = home / "tmp" / f"mark-{time.monotonic_ns()}"
        task = self.platform.call(
            "POST",
            "/api/v1/tasks",
            json={"algorithm": self.name, "input": {"seconds": seconds, "mark": str(mark)}} | body,
        )
        assert task.status_code == 202, task.text
        eventually(mark.exists)
        return task.json()["id"], mark

    def cancel(self, task: str, **body: Any) -> dict[str, Any]:
        answer = self.platform.call("POST", f"/api/v1/tasks/{task}/cancel", json=body or None)
        assert answer.status_code == 202, answer.text
        view: dict[str, Any] = answer.json()
        return view

    def state(self, task: str) -> str:
        return str(self.platform.call("GET", f"/api/v1/tasks/{task}").json()["state"])


def _stands_still(mark: Path) -> bool:
    before = mark.read_text()
    time.sleep(1)  # twenty times what it takes to show the next beat
    return mark.read_text() == before


@pytest.mark.timeout(900)
def test_an_async_algorithm_stops_at_once(platform: Platform, tmp_path: Path) -> None:
    sleeper = Sleeper(platform, tmp_path, ASYNC)
    task, mark = sleeper.begun(240)
    sleeper.cancel(task)
    assert platform.finished(task)["state"] == "cancelled", "long before its work would have ended"
    assert _stands_still(mark)


@pytest.mark.timeout(900)
def test_a_plain_algorithm_is_cancelled_when_it_has_ended_and_by_force_with_its_instance(
    platform: Platform, tmp_path: Path
) -> None:
    sleeper = Sleeper(platform, tmp_path, PLAIN, manifest="timeout: 100\n")

    task, mark = sleeper.begun(8)
    sleeper.cancel(task)
    assert sleeper.state(task) == "running", "it sleeps in a thread: nothing can stop it"
    assert platform.finished(task)["state"] == "cancelled"
    assert _stands_still(mark)

    neighbour, beside = sleeper.begun(15, max_attempts=1)
    task, mark = sleeper.begun(90)
    began, before = time.monotonic(), sleeper.platform.service(sleeper.name)["port"]
    sleeper.cancel(task, force=True)
    ended = platform.finished(task)
    assert ended["state"] == "cancelled", ended
    assert "restart" in ended["error"]["message"]
    assert time.monotonic() - began >= 5, "the work was given its time to end"
    assert _stands_still(mark)
    assert sleeper.platform.service(sleeper.name)["port"] != before
    assert beside.exists()
    beyond = platform.finished(neighbour)
    assert beyond["state"] == "succeeded", f"its neighbour is tried again, and not lost: {beyond['error']}"
    platform.answered(sleeper.name, {"seconds": 0, "mark": "x"})


@pytest.mark.timeout(900)
def test_a_cancel_outlives_the_worker_that_it_was_meant_for(platform: Platform, tmp_path: Path) -> None:
    sleeper = Sleeper(platform, tmp_path, PLAIN, manifest="timeout: 100\n")
    task, mark = sleeper.begun(25)
    worker = next(one["name"] for one in platform.programs() if one["name"].startswith("worker"))
    os.kill(platform.pid(worker), signal.SIGKILL)
    sleeper.cancel(task)
    ended = platform.finished(task)
    assert ended["state"] == "cancelled", ended
    assert _stands_still(mark), "it was called cancelled while its work went on"
