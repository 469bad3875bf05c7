"""Workers that die, sleep, drain, join and leave: every task ends once, one result is visible."""

from __future__ import annotations

import contextlib
import os
import random
import signal
import threading
import time
from collections.abc import Callable
from pathlib import Path
from urllib.parse import urlsplit

import psutil
import pytest

from tests.faults.conftest import LONG
from tests.outside.ledger import Ledger, p95
from tests.outside.platform import Platform, algodock, eventually

pytestmark = pytest.mark.timeout(900)
WORKERS = ("worker-1", "worker-2")
PLACES = ("worker.claimed", "result.uploaded", "worker.committed", "callback.sent", "result.behind")


def _kill(platform: Platform, worker: str) -> None:
    with contextlib.suppress(ProcessLookupError):  # it may be on its way back from the last one
        os.kill(platform.pid(worker), signal.SIGKILL)


def test_workers_killed_at_random_moments(platform: Platform, ledger: Ledger, figures: Callable[..., None]) -> None:
    tasks, kills = (200, 12) if LONG else (50, 4)
    moments = random.Random(7)  # noqa: S311  # the same moments in every run
    at = []
    killed = threading.Event()

    def submit() -> None:
        with platform.api() as api:
            while len(ledger.submitted) < tasks or not killed.is_set():
                ledger.submit(api, sleep_s=0.5)

    submitting = threading.Thread(target=submit)
    submitting.start()
    try:
        for _ in range(kills):
            eventually(ledger.running, 120)
            time.sleep(moments.uniform(0, 0.4))  # the moment is the fault
            _kill(platform, moments.choice(WORKERS))
            at.append(time.monotonic())
    finally:
        killed.set()
        submitting.join()
    told = ledger.check(platform)
    figures(**told, kills=kills, recovery_p95_s=round(p95(ledger.recoveries_s(at)), 2))


@pytest.mark.parametrize("place", PLACES if LONG else PLACES[1:3])
def test_a_worker_killed_at(
    platform: Platform, ledger: Ledger, failpoints: Path, figures: Callable[..., None], place: str
) -> None:
    armed = failpoints / place
    armed.touch()
    ledger.submit_many(platform, 20)
    eventually(lambda: not armed.exists())
    figures(**ledger.check(platform))


def test_a_zombies_late_write_changes_nothing(platform: Platform, ledger: Ledger) -> None:
    with platform.api() as api:
        task = ledger.submit(api, sleep_s=5.0)
    eventually(lambda: ledger.executions[task])
    zombie = psutil.Process(platform.pid(_holder(platform, ledger)))
    zombie.suspend()
    try:
        ended = platform.finished(task)  # by the other one, once the lease ran out
        seen = platform.result(task).json()
    finally:
        zombie.resume()
    eventually(lambda: not platform.unready().keys() & set(WORKERS))
    ledger.submit_many(platform, 20)  # the zombie works again, and has written what it had to write
    ledger.check(platform)
    assert ended["attempt"] == 2
    assert platform.result(task).json() == seen
    assert seen["mark"] == ledger.executions[task][1].mark


def _holder(platform: Platform, ledger: Ledger) -> str:
    """Return the worker that calls the books' algorithm: the only one with a connection to it so far."""
    port = urlsplit(ledger.url).port
    found = [
        worker
        for worker in WORKERS
        if any(
            getattr(one.raddr, "port", None) == port
            for one in psutil.Process(platform.pid(worker)).net_connections("tcp")
        )
    ]
    assert len(found) == 1, found
    return found[0]


def test_a_task_longer_than_the_poll_interval_runs_once(platform: Platform, ledger: Ledger) -> None:
    with platform.api() as api:
        task = ledger.submit(api, sleep_s=13)  # KAFKA_MAX_POLL_INTERVAL_S is 10
        others = [ledger.submit(api) for _ in range(5)]
    ledger.check(platform)
    assert [len(ledger.executions[one]) for one in (task, *others)] == [1] * 6


def test_workers_join_and_leave(platform: Platform, ledger: Ledger, figures: Callable[..., None]) -> None:
    changes, pause_s = (6, 5.0) if LONG else (2, 1.0)
    over = threading.Event()

    def submit() -> None:
        with platform.api() as api:
            while not over.wait(0.05):
                ledger.submit(api, sleep_s=0.2)

    submitting = threading.Thread(target=submit)
    submitting.start()
    try:
        for number in range(changes):
            algodock(platform.environment, "up", "--workers", str((1, 3, 2)[number % 3]))
            time.sleep(pause_s)  # the pace of the fault
    finally:
        over.set()
        submitting.join()
        algodock(platform.environment, "up", "--workers", str(len(WORKERS)))
    figures(**ledger.check(platform), changes=changes)
