"""A platform with two workers, short leases and armed failpoints, its servers, and the books beside it."""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.outside.ledger import Ledger
from tests.outside.platform import Platform, running_platform
from tests.outside.servers import Servers

LEASE_S = 3
CALLBACK_TIMEOUT_S = 3
LONG = os.environ.get("ALGODOCK_FAULTS") == "long"
"""Set by ``./algodock test --faults``: the counts and times of the promise; without it a short form of each."""


@pytest.fixture(scope="session")
def failpoints(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return the folder whose files kill who reaches the places that they name."""
    return tmp_path_factory.mktemp("failpoints")


@pytest.fixture(scope="module")
def platform(tmp_path_factory: pytest.TempPathFactory, failpoints: Path) -> Iterator[Platform]:
    """Start the platform of a module's fault tests."""
    with running_platform(
        tmp_path_factory.mktemp("faults"),
        workers=2,
        WORKER_LEASE_S=str(LEASE_S),
        KAFKA_MAX_POLL_INTERVAL_S="10",
        CALLBACK_TIMEOUT_S=str(CALLBACK_TIMEOUT_S),
        ALGODOCK_FAILPOINTS=str(failpoints),
        OTEL_SAMPLE_RATIO="0",
    ) as running:
        yield running


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
