"""``kill -9`` of anything while the path runs: nothing fails for good.

Whoever calls repeats what failed: predictions, submissions (with their idempotency key), pushes.
What was accepted reaches its end by itself.
"""

from __future__ import annotations

import os
import signal
import subprocess
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from uuid import uuid4

import httpx
import pytest

from tests.faults.conftest import LONG
from tests.outside.callbacks import Receiver
from tests.outside.platform import Platform, eventually
from tests.outside.repository import Repository
from tests.outside.servers import Servers

VICTIMS = (
    "gateway",
    "gitea-sync",
    "deployer",
    "registry",
    "runner",
    "worker-1",
    "postgres",
    "redis",
    "kafka",
    "objects",
    "instance",
)
SHORT = ("gitea-sync", "gateway", "postgres")
"""What no other file of these tests kills, or not while a push and callbacks are under way."""
SERVERS = frozenset({"postgres", "redis", "kafka", "objects"})


class Traffic:
    """Predictions and tasks, one after the other, each repeated until it succeeds."""

    def __init__(self, platform: Platform, name: str, callback_url: str) -> None:
        self.platform = platform
        self.tasks: dict[str, int] = {}
        self.predictions = 0
        self._name = name
        self._callback_url = callback_url
        self._over = threading.Event()
        self._failures: list[str] = []

    @contextmanager
    def flowing(self) -> Iterator[None]:
        """Let it flow while the block runs; fail when a call never succeeded."""
        threads = [threading.Thread(target=self._keep, args=(call,)) for call in (self._predict, self._submit)]
        for thread in threads:
            thread.start()
        try:
            yield
        finally:
            self._over.set()
            for thread in threads:
                thread.join()
        assert not self._failures, self._failures

    def _keep(self, call: Callable[[httpx.Client, int], None]) -> None:
        number = 0
        with self.platform.api() as api:
            while not self._over.wait(0.05):
                number += 1
                try:
                    call(api, number)
                except Exception as error:  # noqa: BLE001  # a thread has nobody to raise to
                    self._failures.append(f"{call.__name__} {number}: {error!r}")
                    return

    def _predict(self, api: httpx.Client, number: int) -> None:
        answer = _repeated(lambda: api.post(f"/ai/{self._name}/predict", json={"n": number}))
        assert answer.json()["got"] == {"n": number}
        self.predictions += 1

    def _submit(self, api: httpx.Client, number: int) -> None:
        body = {
            "algorithm": self._name,
            "input": {"n": number},
            "callback_url": self._callback_url,
            "idempotency_key": uuid4().hex,
            "max_attempts": 10,
        }
        answer = _repeated(lambda: api.post("/api/v1/tasks", json=body))
        self.tasks[answer.json()["id"]] = number


def _repeated(call: Callable[[], httpx.Response], seconds: float = 60) -> httpx.Response:
    """Repeat a call until it is answered with success; a mistake of ours (4xx) is not repeated."""
    end, last = time.monotonic() + seconds, "nothing"
    while time.monotonic() < end:
        try:
            answer = call()
        except httpx.TransportError as error:
            last = repr(error)
        else:
            if answer.is_success:
                return answer
            last = f"{answer.status_code} {answer.text[:300]}"
            assert answer.status_code in {429, 500, 502, 503, 504}, last
        time.sleep(0.2)
    raise AssertionError(f"no success within {seconds} s; last: {last}")


def _push(repository: Repository) -> None:
    """Push until it is taken: a forge that is killed in between takes it the next time, or has it already."""
    for _ in range(30):
        try:
            repository.push()
        except (subprocess.CalledProcessError, subprocess.TimeoutExpired):
            time.sleep(0.5)
        else:
            return
    pytest.fail("the push was never taken")


@pytest.fixture(scope="module")
def echo(platform: Platform, tmp_path_factory: pytest.TempPathFactory) -> Repository:
    repository = platform.repository(tmp_path_factory.mktemp("faults"), "faults")
    repository.commit_echo("first")
    repository.push()
    platform.serves(repository.name, "first")
    return repository


def _pid(platform: Platform, servers: Servers, name: str, victim: str) -> int:
    if victim == "instance":
        return platform.instance_pid(name)
    return servers.pid(victim) if victim in SERVERS else platform.pid(victim)


@pytest.mark.timeout(900)
@pytest.mark.parametrize("victim", VICTIMS if LONG else SHORT)
def test_the_path_survives_the_kill_of(
    platform: Platform, servers: Servers, echo: Repository, receiver: Receiver, victim: str
) -> None:
    version = f"after-{victim}-{uuid4().hex[:6]}"
    echo.commit_echo(version)
    traffic = Traffic(platform, echo.name, receiver.url)
    pushing = threading.Thread(target=_push, args=(echo,))
    with traffic.flowing():
        eventually(lambda: traffic.predictions and traffic.tasks)
        pid = _pid(platform, servers, echo.name, victim)
        pushing.start()
        time.sleep(0.3)  # into the middle of the push, wherever that is today
        os.kill(pid, signal.SIGKILL)
        platform.serves(echo.name, version)
        before = traffic.predictions, len(traffic.tasks)
        eventually(lambda: traffic.predictions > before[0] and len(traffic.tasks) > before[1])
        pushing.join()
    for task_id, number in traffic.tasks.items():
        task = platform.finished(task_id)
        assert task["state"] == "succeeded", task
        assert _repeated(lambda task_id=task_id: platform.result(task_id)).json()["got"] == {"n": number}  # type: ignore[misc]  # bound at once
    eventually(lambda: traffic.tasks.keys() <= receiver.ids(platform.callback_secret))
    platform.until_ready()
