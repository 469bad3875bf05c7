"""The Docker Engine is killed at steps of a deploy: afterwards one release serves, and nothing is left over."""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from algodock_cli.stack.data_folder import project_folder
from tests.docker.test_containers import DOCKERFILE, MANIFEST, SERVER, containers, engine, repository
from tests.outside.calls import called
from tests.outside.platform import Platform, eventually, running_platform
from tests.outside.repository import Repository

pytestmark = pytest.mark.timeout(900)
LONG = os.environ.get("ALGODOCK_FAULTS") == "long"
PLACES = ("environment", "lease", "leased", "start", "started", "probe", "switch", "switched", "ended", "freed")
SHORT = ("started", "switched")
NAME = "survivor"


@pytest.fixture(scope="module")
def failpoints(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("failpoints")


@pytest.fixture(scope="module")
def platform(tmp_path_factory: pytest.TempPathFactory, failpoints: Path) -> Iterator[Platform]:
    with running_platform(tmp_path_factory.mktemp("engine"), ALGODOCK_FAILPOINTS=str(failpoints)) as running:
        yield running
    assert containers(running) == [], "`down` ends them"


@pytest.fixture(scope="module")
def survivor(platform: Platform, tmp_path_factory: pytest.TempPathFactory) -> Repository:
    made = repository(platform, NAME, tmp_path_factory.mktemp("survivor"))
    push(made, "first")
    serves(platform, "first")
    return made


def push(repository: Repository, version: str) -> str:
    """Push a version and return its commit."""
    files = {"main.py": SERVER.replace("VERSION", version), "Dockerfile": DOCKERFILE}
    commit = repository.commit(files | {"algodock.yaml": f"runtime: docker\n{MANIFEST}"})
    repository.push()
    return commit


def version(platform: Platform) -> str:
    """Return the version that answers now, an empty text for none."""
    answer = platform.predict(NAME, {})
    return str(answer.json()["version"]) if answer.status_code == 200 else ""


def serves(platform: Platform, wanted: str) -> None:
    """Wait until this version answers."""
    eventually(lambda: version(platform), 300, accept=lambda seen: seen == wanted)


def engine_pid() -> int:
    """Return the process of the engine that these tests were given, 0 while there is none."""
    try:
        return int((project_folder() / ".algodock" / "docker" / "run" / "dockerd.pid").read_text())
    except (FileNotFoundError, ValueError):
        return 0


def answers() -> bool:
    with engine() as client:
        return client.get("/_ping").is_success


def state_of(platform: Platform, commit: str) -> str:
    release = platform.release_of(NAME, commit)
    return "" if release is None else str(release["state"])


@pytest.mark.parametrize("place", PLACES if LONG else SHORT)
def test_the_engine_killed_at(
    platform: Platform, survivor: Repository, failpoints: Path, place: str, capsys: pytest.CaptureFixture[str]
) -> None:
    before = eventually(lambda: version(platform), 300)
    killed, armed = engine_pid(), failpoints / f"deploy.{place}"
    assert killed, "the engine that these tests were given is ours to end"
    with called(platform, NAME) as calls:
        armed.write_text(str(killed))
        began, pushed = time.monotonic(), f"killed-at-{place}"
        commit = push(survivor, pushed)
        eventually(lambda: not armed.exists(), 300)
        eventually(lambda: engine_pid() not in {0, killed} and answers(), 300)
        ended = eventually(lambda: state_of(platform, commit), 300, accept=lambda state: state in {"live", "failed"})
        serves(platform, pushed if ended == "live" else before)
        eventually(lambda: containers(platform, NAME), 300, accept=lambda found: len(found) == 1)
        eventually(lambda: containers(platform, NAME)[0]["State"]["Running"], 300)
        serves(platform, pushed if ended == "live" else before)
        whole_s = time.monotonic() - began
    with capsys.disabled():
        sys.stdout.write(
            f"\nthe engine killed at {place}: {ended}, whole after {whole_s:.1f} s, "
            f"{len(calls.refused)} of {calls.answered} calls failed, none answered for {calls.dark_s:.1f} s\n"
        )
