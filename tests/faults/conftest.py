"""A platform with two workers, short leases and armed failpoints, its servers, and the books beside it."""

from __future__ import annotations

import json
import os
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, ExitStack
from pathlib import Path

import pytest

from tests.outside.ledger import Ledger
from tests.outside.platform import Platform, running_platform
from tests.outside.servers import Servers

LEASE_S = 3
CALLBACK_TIMEOUT_S = 3
WORKERS = 2
PROCESSES = 64
"""Processes and threads that one instance may have."""
LONG = os.environ.get("ALGODOCK_FAULTS") == "long"
"""Set by ``./algodock test --faults``: the counts and times of the promise; without it a short form of each."""


class _Shared:
    """One platform for all the files of fault tests that a process runs one after the other: a start costs 15 s."""

    def __init__(self) -> None:
        self._running: tuple[Platform, ExitStack] | None = None

    def platform(self, start: Callable[[], AbstractContextManager[Platform]]) -> Platform:
        """Return the one that runs, if the file before left it whole; else start one."""
        if self._running is not None and not _heals(self._running[0]):
            self.end()
        if self._running is None:
            stack = ExitStack()
            self._running = stack.enter_context(start()), stack
        return self._running[0]

    def end(self) -> None:
        running, self._running = self._running, None
        if running is not None:
            running[1].close()


def _heals(platform: Platform) -> bool:
    end = time.monotonic() + 120
    while platform.unready() and time.monotonic() < end:
        time.sleep(0.5)
    return not platform.unready()


_SHARED = pytest.StashKey[_Shared]()


@pytest.hookimpl(trylast=True)
def pytest_runtest_teardown(item: pytest.Item, nextitem: pytest.Item | None) -> None:
    """End the platform when this process goes on with other tests: two platforms on one broker disturb each other."""
    shared = item.session.stash.get(_SHARED, None)
    if shared is not None and (nextitem is None or nextitem.path.parent != Path(__file__).parent):
        shared.end()


@pytest.fixture(scope="session")
def failpoints(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return the folder whose files kill who reaches the places that they name."""
    return tmp_path_factory.mktemp("failpoints")


@pytest.fixture(scope="session")
def shared(request: pytest.FixtureRequest) -> Iterator[_Shared]:
    """Keep the platform between files, and end it however the run ends."""
    shared = request.session.stash[_SHARED] = _Shared()
    yield shared
    shared.end()


@pytest.fixture(scope="module")
def platform(shared: _Shared, tmp_path_factory: pytest.TempPathFactory, failpoints: Path) -> Platform:
    """Return the platform of the fault tests."""

    def start() -> AbstractContextManager[Platform]:
        return running_platform(
            tmp_path_factory.mktemp("faults"),
            workers=WORKERS,
            WORKER_LEASE_S=str(LEASE_S),
            KAFKA_MAX_POLL_INTERVAL_S="10",
            CALLBACK_TIMEOUT_S=str(CALLBACK_TIMEOUT_S),
            DEPLOYER_MAX_PROCESSES=str(PROCESSES),
            ALGODOCK_FAILPOINTS=str(failpoints),
            OTEL_SAMPLE_RATIO="0",
        )

    return shared.platform(start)


@pytest.fixture(scope="module")
def servers(platform: Platform) -> Servers:
    """Return the servers below the platform."""
    return Servers(platform)


@pytest.fixture
def ledger(platform: Platform) -> Iterator[Ledger]:
    """Open books for one test."""
    with Ledger.open(platform) as opened:
        yield opened


@pytest.fixture
def figures(request: pytest.FixtureRequest, capsys: pytest.CaptureFixture[str]) -> Callable[..., None]:
    """Print what a fault cost, whether or not output is captured."""

    def tell(**found: float) -> None:
        with capsys.disabled():
            sys.stdout.write(f"\n{request.node.name}: {json.dumps(found)}\n")

    return tell
