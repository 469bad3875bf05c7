"""Watching a task on a running platform: what its algorithm says comes while it works, through a gateway that dies."""

from __future__ import annotations

import json
import os
import signal
from pathlib import Path
from typing import TYPE_CHECKING, Any

import httpx
import pytest

from tests.outside.platform import Platform, eventually

if TYPE_CHECKING:
    from collections.abc import Iterator

ALGORITHM = """
import logging, pathlib, time
from algodock_sdk import progress

def predict(steps: int = 3, seconds: float = 0.2, until: str = ""):
    for step in range(steps):
        progress(step / steps, f"step {step}")
        logging.getLogger("mine").info("at %d", step)
        while until and not pathlib.Path(until).exists():
            time.sleep(0.05)
        time.sleep(seconds)
        yield {"step": step}
    return {"steps": steps}
"""


class Watching:
    """A reader that comes back where it was."""

    def __init__(self, platform: Platform, task_id: str) -> None:
        self.platform = platform
        self.path = f"/api/v1/tasks/{task_id}/events"
        self.seen: list[tuple[str, str, Any]] = []

    def once(self) -> Iterator[tuple[str, str, Any]]:
        """Yield events until the connection ends."""
        headers = {"last-event-id": self.seen[-1][0]} if self.seen else {}
        fields: dict[str, str] = {}
        with self.platform.api() as client, client.stream("GET", self.path, headers=headers) as response:
            assert response.status_code == 200
            for line in response.iter_lines():
                name, _, value = line.partition(": ")
                if name in {"id", "event", "data"}:
                    fields[name] = value
                elif not line and "event" in fields:
                    self.seen.append((fields["id"], fields["event"], json.loads(fields["data"])))
                    yield self.seen[-1]
                    fields = {}

    def kill_the_gateway_at_the_first(self, wanted: str) -> None:
        """Read until there is nobody to read from."""
        pid = self.platform.pid("gateway")
        for _, name, _ in self.once():
            if name == wanted and pid:
                os.kill(pid, signal.SIGKILL)
                pid = 0

    def to_the_end(self) -> bool:
        """Read on; say whether ``done`` has come."""
        for _ in self.once():
            pass
        return bool(self.seen) and self.seen[-1][1] == "done"


def submit(platform: Platform, name: str, **given: Any) -> str:
    made = platform.call("POST", "/api/v1/tasks", json={"algorithm": name, "input": given})
    assert made.status_code == 202, made.text
    task_id: str = made.json()["id"]
    return task_id


@pytest.fixture(scope="module")
def talker(platform: Platform, tmp_path_factory: pytest.TempPathFactory) -> str:
    folder: Path = tmp_path_factory.mktemp("talker")
    repository = platform.repository(folder, "talker")
    commit = repository.commit({"ai_algorithm.py": ALGORITHM})
    repository.push()
    platform.until_live(repository.name, commit)
    return repository.name


@pytest.mark.timeout(900)
def test_what_an_algorithm_says_comes_while_it_works(platform: Platform, talker: str) -> None:
    mark = Path(platform.environment["ALGODOCK_DATA_DIR"]) / "services" / talker / "home" / "tmp" / "told"
    mark.parent.mkdir(exist_ok=True)
    watching = Watching(platform, submit(platform, talker, until=str(mark)))
    for _, name, _ in watching.once():
        if name == "progress":
            mark.touch()  # it does not go on, let alone end, before its beginning was told
    assert watching.seen[-1][1] == "done"
    names = [name for _, name, _ in watching.seen]
    assert names == ["state"] * 3 + ["progress", "log", "output"] * 3 + ["state", "done"]
    said = [data for _, name, data in watching.seen if name == "progress"]
    assert [one["message"] for one in said] == ["step 0", "step 1", "step 2"]
    ran = [data for _, name, data in watching.seen if name == "state"][-1]
    assert ran["release_id"]
    assert ran["config_version"] is not None
    task_id = watching.path.split("/")[-2]
    assert platform.result(task_id).json() == {"steps": 3}
    told = platform.call("GET", f"/api/v1/tasks/{task_id}/timeline").json()
    assert [one["state"] for one in told["transitions"]] == ["accepted", "queued", "running", "succeeded"]
    assert {one["commit"] for one in told["transitions"][2:]} == {ran["commit"]}


@pytest.mark.timeout(900)
def test_a_gateway_that_dies_costs_its_watchers_nothing(platform: Platform, talker: str) -> None:
    task_id = submit(platform, talker, steps=20, seconds=0.3)
    watching = Watching(platform, task_id)
    with pytest.raises(httpx.TransportError):
        watching.kill_the_gateway_at_the_first("output")
    assert watching.seen[-1][1] != "done", "it was killed in the middle"
    assert eventually(watching.to_the_end)
    ids = [id_ for id_, _, _ in watching.seen]
    assert len(ids) == len(set(ids)), "nothing came twice"
    assert [data["state"] for _, name, data in watching.seen if name == "state"] == [
        "accepted", "queued", "running", "succeeded",
    ]  # fmt: skip
    assert [data["output"]["step"] for _, name, data in watching.seen if name == "output"] == list(range(20))
