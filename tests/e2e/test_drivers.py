"""Algorithms without a process manager: a push deploys to plain processes, which outlive the deployer and come back."""

from __future__ import annotations

import os
import signal
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest

from tests.outside.platform import Platform, eventually, running_platform
from tests.outside.repository import Repository

pytestmark = pytest.mark.timeout(900)


@pytest.fixture(scope="module")
def platform(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Platform]:
    folder = tmp_path_factory.mktemp("drivers")
    with running_platform(
        folder, DEPLOYMENT_MODE="local", ALGODOCK_SERVICE_KEPT_APART_DEPLOYMENT_MODE="supervisor"
    ) as running:
        yield running


def live(platform: Platform, name: str, folder: Path, version: str) -> Repository:
    made = platform.call("POST", "/api/v1/algorithms", json={"name": name})
    return pushed(platform, Repository(name, folder / name, made.json()["clone_url"], platform.api_key), version)


def pushed(platform: Platform, repository: Repository, version: str) -> Repository:
    commit = repository.commit_echo(version)
    repository.push()
    platform.until_live(repository.name, commit)
    return repository


def under(pid: int, word: str) -> bool:
    return any(word in " ".join(parent.cmdline()) for parent in psutil.Process(pid).parents())


def test_a_push_deploys_to_a_plain_process_that_lives_on_and_comes_back(platform: Platform, tmp_path: Path) -> None:
    echo = live(platform, "plain", tmp_path, "one")
    platform.serves("plain", "one")
    first = platform.instance_pid("plain")
    assert os.getsid(first) == first, "a session of its own"
    assert under(first, "algodock_deployer")

    pushed(platform, echo, "two")
    platform.serves("plain", "two")
    eventually(lambda: not psutil.pid_exists(first))

    second, deployer = platform.instance_pid("plain"), platform.pid("deployer")
    os.kill(deployer, signal.SIGKILL)
    eventually(lambda: platform.pid("deployer") not in {0, deployer})
    platform.until_ready()
    assert platform.instance_pid("plain") == second, "it outlives the deployer"
    platform.serves("plain", "two")
    pushed(platform, echo, "three")
    platform.serves("plain", "three")
    eventually(lambda: not psutil.pid_exists(second))

    third = platform.instance_pid("plain")
    os.kill(third, signal.SIGKILL)
    eventually(lambda: platform.instance_pid("plain") != third)
    platform.serves("plain", "three")


def test_one_service_may_have_a_mode_of_its_own(platform: Platform, tmp_path: Path) -> None:
    live(platform, "kept-apart", tmp_path, "one")
    platform.serves("kept-apart", "one")
    pid = platform.instance_pid("kept-apart")
    assert under(pid, "supervisord.conf")
    assert not under(pid, "algodock_deployer")
    stopped = platform.call("POST", "/api/v1/services/stop/kept-apart")
    assert stopped.status_code in {200, 202}, stopped.text
    eventually(lambda: not psutil.pid_exists(pid))
