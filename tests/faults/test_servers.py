"""Servers that stop, forget or fill up below a platform under load: what was accepted ends, and can be read."""

from __future__ import annotations

import os
import signal
import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from functools import partial

import httpx
import pytest

from tests.faults.conftest import LONG
from tests.faults.test_services import under_load
from tests.outside.ledger import Ledger
from tests.outside.platform import Platform, eventually
from tests.outside.servers import Servers

pytestmark = pytest.mark.timeout(900)
DOWN_S = 30.0 if LONG else 4.0
READERS = 8


@pytest.mark.parametrize(
    "lose_data", [True, False] if LONG else [True], ids=lambda lost: ("stopped", "its data deleted")[lost]
)
def test_the_broker(
    platform: Platform, servers: Servers, ledger: Ledger, figures: Callable[..., None], *, lose_data: bool
) -> None:
    with under_load(platform, ledger):
        eventually(lambda: len(ledger.submitted) > 5)
        with servers.stopped("kafka", lose_data=lose_data):
            before = len(ledger.submitted)
            time.sleep(DOWN_S)  # the length of the fault
            accepted = len(ledger.submitted) - before
        back = time.monotonic()
    platform.until_ready()
    ready_s = time.monotonic() - back
    assert accepted > 3, "submissions by REST went on being accepted"
    figures(
        **ledger.check(platform),
        accepted_meanwhile=accepted,
        refused=sum(ledger.refused.values()),
        ready_s=round(ready_s, 2),
    )


def test_postgresql_restarted_at_once(
    platform: Platform, servers: Servers, ledger: Ledger, figures: Callable[..., None]
) -> None:
    answers: list[tuple[float, int]] = []
    over = threading.Event()

    def look() -> None:
        with platform.api() as api:
            while not over.wait(0.05):
                answers.append((time.monotonic(), api.get("/api/v1/tasks", params={"limit": 1}).status_code))

    looking = threading.Thread(target=look)
    with under_load(platform, ledger):
        eventually(lambda: len(ledger.submitted) > 5)
        looking.start()
        servers.signal("postgres", signal.SIGQUIT)  # what pg_ctl -m immediate sends
        eventually(lambda: any(status >= 500 for _, status in answers))
        eventually(lambda: [status for _, status in answers[-10:]] == [200] * 10)
        over.set()
        looking.join()
    window = [at for at, status in answers if status >= 500]
    assert {status for _, status in answers} <= {200, 503}
    figures(**ledger.check(platform), refused=sum(ledger.refused.values()), window_s=round(window[-1] - window[0], 2))


@pytest.mark.parametrize("server", ["objects", "redis"])
def test_without(
    platform: Platform, servers: Servers, ledger: Ledger, figures: Callable[..., None], server: str
) -> None:
    with under_load(platform, ledger):
        eventually(lambda: len(ledger.submitted) > 5)
        with servers.stopped(server):
            end = time.monotonic() + DOWN_S
            while time.monotonic() < end:
                _what_succeeded_can_be_read(platform, ledger)
        back = time.monotonic()
    _until_all_objects_are_there(platform, ledger)
    there_s = time.monotonic() - back
    figures(**ledger.check(platform), all_there_after_s=round(there_s, 2))


def _until_all_objects_are_there(platform: Platform, ledger: Ledger) -> None:
    """Read every result from the store itself, not from its row, as soon as it is there."""

    def read(tasks: list[str]) -> None:
        with platform.api() as api:
            for task in tasks:
                answer = eventually(partial(_from_the_store, api, task), every=0.2, accept=lambda seen: seen.is_success)
                assert answer.json()["n"] == ledger.submitted[task]["n"]
                assert len(answer.history) == 1

    tasks = list(ledger.submitted)
    with ThreadPoolExecutor(READERS) as pool:
        list(pool.map(read, [tasks[at::READERS] for at in range(READERS)]))


def _from_the_store(api: httpx.Client, task: str) -> httpx.Response:
    return api.get(f"/api/v1/tasks/{task}/result", params={"link": True}, follow_redirects=True)


def _what_succeeded_can_be_read(platform: Platform, ledger: Ledger) -> None:
    with platform.api() as api:
        for task in list(ledger.submitted)[-10:]:
            if api.get(f"/api/v1/tasks/{task}").json()["state"] == "succeeded":
                assert api.get(f"/api/v1/tasks/{task}/result").status_code in {200, 307}, task


@pytest.mark.skipif(not LONG or os.geteuid() != 0, reason="the long form, by root: it mounts a small file system")
def test_a_disk_that_is_full_below_the_object_store(
    platform: Platform, servers: Servers, ledger: Ledger, figures: Callable[..., None]
) -> None:
    """Results that find no room wait, and say so; nothing is called succeeded that cannot be read."""
    with servers.small_disk("objects", megabytes=8), platform.api() as api:
        tasks = [ledger.submit(api, bytes=1_500_000) for _ in range(12)]
        eventually(lambda: all(any(run.ended for run in ledger.executions[task]) for task in tasks))
        states = eventually(lambda: _settled(platform, tasks)) or []
        assert "running" in states, states
        _what_succeeded_can_be_read(platform, ledger)
        back = time.monotonic()
    told = ledger.check(platform)
    figures(**told, waited=states.count("running"), all_there_after_s=round(time.monotonic() - back, 2))


def _settled(platform: Platform, tasks: list[str]) -> list[str] | None:
    """Return the tasks' states once two looks, a second apart, agree."""

    def look() -> list[str]:
        return [platform.call("GET", f"/api/v1/tasks/{task}").json()["state"] for task in tasks]

    before = look()
    time.sleep(1)  # the length of one look's validity
    return before if before == look() else None
