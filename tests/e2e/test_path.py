"""The one sentence: push → deploy → register → predict → task → result → callback, and its traces."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any
from uuid import uuid4

import pytest

from tests.outside.callbacks import Receiver
from tests.outside.platform import Platform, eventually
from tests.outside.traces import Edge, Traces

PUSH_TO_LIVE = {
    Edge("gitea-sync", "code.pushed", "deployer"),
    Edge("deployer", "http", "registry"),
    Edge("deployer", "release.events", "registry"),
    Edge("deployer", "release.events", "gateway"),
    Edge("registry", "instance.events", "deployer"),
    Edge("registry", "instance.events", "gateway"),
    Edge("registry", "instance.events", "worker"),
}
"""From the webhook to the moment when every router knows the new instance."""

SUBMIT_TO_CALLBACK = {
    Edge("gateway", "http", "runner"),
    Edge("worker", "task.finished", "gateway"),
}
"""From the submission to the long poll's end. The worker claims from the table, so no edge leads to it: it goes on
with the submission's trace."""


@pytest.mark.timeout(900)
def test_push_deploy_register_predict_task_result_callback(
    platform: Platform, tmp_path: Path, receiver: Receiver
) -> None:
    echo = platform.repository(tmp_path, "path")
    commit = echo.commit_echo("one")

    told = echo.push()
    release = platform.until_live(echo.name, commit)
    assert [step["name"] for step in release["steps"]], "every step is told with its times"
    assert "remote:" in told, "the pusher reads what becomes of the push"

    service = platform.service(echo.name)
    assert (service["status"], service["host"]) == ("running", "127.0.0.1")
    answer = platform.answered(echo.name, {"input_data": ["这是一个测试文本"], "batch_id": "test_001"})
    assert answer.json() == {"version": "one", "got": {"input_data": ["这是一个测试文本"], "batch_id": "test_001"}}
    found = platform.call("GET", f"/api/v1/registry/discover/{echo.name}").json()
    assert [one["port"] for one in found["instances"]] == [service["port"]]

    task = _submit(platform, echo.name, receiver)
    finished = platform.finished(task["id"])
    assert finished["state"] == "succeeded"

    assert platform.result(task["id"]).json() == {"version": "one", "got": {"x": [1, 2]}}

    callback = eventually(lambda: receiver.signed(platform.callback_secret, task["id"]))
    assert callback is not None
    assert (callback["state"], callback["commit"]) == ("succeeded", commit)

    _has_its_edges(Traces(platform.traces), echo.name, commit, task["id"])


def _submit(platform: Platform, name: str, receiver: Receiver) -> dict[str, Any]:
    body = {
        "algorithm": name,
        "input": {"x": [1, 2]},
        "callback_url": receiver.url,
        "idempotency_key": uuid4().hex,
    }
    made = platform.call("POST", "/api/v1/tasks", json=body)
    assert made.status_code == 202, made.text
    again = platform.call("POST", "/api/v1/tasks", json=body)
    assert again.json()["id"] == made.json()["id"], "the same key and body are the same task"
    task: dict[str, Any] = made.json()
    return task


def _has_its_edges(traces: Traces, name: str, commit: str, task_id: str) -> None:
    (pushed,) = traces.of("deployer", "algodock.commit", commit)
    _arrived(traces, pushed, PUSH_TO_LIVE)
    names = traces.names(pushed)
    assert names["gitea-sync"] >= {"POST /webhook", "bundle"}
    assert names["deployer"] >= {"build", "start", "probe", "switch"}

    (submitted,) = eventually(lambda: traces.of("gateway", "algodock.subject", task_id))
    _arrived(traces, submitted, SUBMIT_TO_CALLBACK)
    assert traces.names(submitted)["worker"] >= {f"task {name}", "POST /predict", "callback"}
    assert pushed in traces.links(submitted), "the task is linked to the release that served it"


def _arrived(traces: Traces, trace_id: str, wanted: set[Edge]) -> None:
    """Wait for the edges: a consumer's span ends, and is written, after what it caused was seen."""
    end = time.monotonic() + 120
    while (missing := wanted - traces.edges(trace_id)) and time.monotonic() < end:
        time.sleep(0.1)
    assert not missing, f"there is only {sorted(traces.edges(trace_id))}"
