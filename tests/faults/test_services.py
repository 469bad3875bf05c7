"""Services that are told to end under load, and what bad work does to its neighbours."""

from __future__ import annotations

import os
import signal
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from typing import Any
from uuid import uuid4

import httpx
import pytest

from tests.faults.conftest import LONG
from tests.outside.ledger import Ledger, p95, percentile
from tests.outside.obedient import own_process
from tests.outside.platform import Platform, eventually

pytestmark = pytest.mark.timeout(900)
SERVICES = ("gateway", "gitea-sync", "deployer", "registry", "runner", "worker-1", "worker-2")


@contextmanager
def under_load(platform: Platform, ledger: Ledger, *, pause_s: float = 0.02 if LONG else 0.1) -> Iterator[None]:
    """Submit all the while; fail when a submission never got through."""
    over = threading.Event()
    failures: list[BaseException] = []

    def submit() -> None:
        try:
            with platform.api() as api:
                while not over.wait(pause_s):
                    ledger.submit(api, sleep_s=0.1)
        except BaseException as error:  # noqa: BLE001  # a thread has nobody to raise to
            failures.append(error)

    threads = [threading.Thread(target=submit) for _ in range(2)]
    for thread in threads:
        thread.start()
    try:
        yield
    finally:
        over.set()
        for thread in threads:
            thread.join()
    assert not failures, failures


def test_a_rolling_end_of_every_service(platform: Platform, ledger: Ledger, figures: Callable[..., None]) -> None:
    drains = {}
    with under_load(platform, ledger):
        eventually(lambda: len(ledger.submitted) > 5)
        for service in SERVICES if LONG else ("gateway", "worker-1"):
            pid, began = platform.pid(service), time.monotonic()
            os.kill(pid, signal.SIGTERM)
            eventually(lambda pid=pid: not _alive(pid))  # type: ignore[misc]  # bound at once
            drains[service] = round(time.monotonic() - began, 2)
            platform.until_ready()
    figures(
        **ledger.check(platform), refused=sum(ledger.refused.values()), **{f"{k}_drain_s": v for k, v in drains.items()}
    )


def _alive(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    return True


def test_parallel_submissions_with_one_key_are_one_task(platform: Platform, ledger: Ledger) -> None:
    body = {"algorithm": ledger.name, "input": {"n": 1}, "idempotency_key": uuid4().hex}

    def submit(_: int) -> str:
        with platform.api() as api:
            answer = api.post("/api/v1/tasks", json=body)
            assert answer.status_code in {200, 202}, answer.text
            task: str = answer.json()["id"]
            return task

    with ThreadPoolExecutor(50) as pool:
        made = set(pool.map(submit, range(50)))
    assert len(made) == 1
    task = made.pop()
    assert platform.finished(task)["state"] == "succeeded"
    assert len(ledger.executions[task]) == 1
    assert submit(0) == task  # also after its end
    changed = platform.call("POST", "/api/v1/tasks", json=body | {"input": {"n": 2}})
    assert changed.status_code == 409


BAD: dict[str, dict[str, Any]] = {
    "answers that are no JSON": {"text": "{"},
    "an algorithm that always fails": {"status": 500},
    "an algorithm that is never available": {"status": 503, "task": {"max_attempts": 2}},
    "answers of 50 MB": {"bytes": 50_000_000},
    "a hang": {"sleep_s": 600, "task": {"timeout": 2, "max_attempts": 1}},
}
SHORT = ("an algorithm that always fails", "answers of 50 MB")
ENDS = {"answers of 50 MB": "succeeded"}
ROUNDS = 3 if LONG else 1
"""How often it is looked at, alone and beside, so that the figures are not one moment's of the machine."""


@pytest.mark.parametrize("kind", BAD if LONG else SHORT)
def test_bad_work_does_not_disturb_its_neighbour(platform: Platform, figures: Callable[..., None], kind: str) -> None:
    with (
        own_process() as at,
        Ledger.open(platform, "bad", at=at) as ledger,
        Ledger.open(platform, "neighbour") as neighbour,
        platform.api() as api,
    ):
        alone: list[float] = []
        beside: list[float] = []
        for _ in range(ROUNDS):
            alone += _latencies(api, neighbour)
            bad = [ledger.submit(api, **BAD[kind]) for _ in range(3 if "MB" in kind else 20)]
            beside += _latencies(api, neighbour)
            for task in bad:
                end = platform.finished(task, 120)
                assert end["state"] == ENDS.get(kind, "failed"), end
                assert end["state"] == "succeeded" or end["error"]["message"], end
        neighbour.check(platform)
    alone95, beside95 = p95(alone), p95(beside)
    figures(
        alone_p95_ms=round(alone95, 1),
        beside_p95_ms=round(beside95, 1),
        ratio=round(beside95 / alone95, 2),
        p99_ratio=round(percentile(beside, 99) / percentile(alone, 99), 2),
    )


def _latencies(api: httpx.Client, ledger: Ledger) -> list[float]:
    found = []
    for _ in range(200 if LONG else 30):
        began = time.perf_counter()
        task = ledger.submit(api)
        assert api.get(f"/api/v1/tasks/{task}", params={"wait": 30}).json()["state"] == "succeeded"
        found.append((time.perf_counter() - began) * 1000)
    return found
