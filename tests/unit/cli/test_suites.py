"""Which tests run where: each folder of tests belongs to a run, and what needs a browser brings it."""

from __future__ import annotations

import tomllib
from pathlib import Path

import pytest

from algodock_cli.real import suites
from algodock_cli.stack.errors import ServerMissing
from algodock_cli.stack.verbs import test as verb
from tests.outside.shares import take_share

PROJECT = Path(__file__).resolve().parents[3]


def folders_with_tests() -> set[str]:
    return {f"tests/{path.relative_to(PROJECT / 'tests').parts[0]}" for path in PROJECT.glob("tests/**/test_*.py")}


def test_every_folder_of_tests_is_run_by_itself_or_on_real_servers() -> None:
    settings = tomllib.loads((PROJECT / "pyproject.toml").read_text(encoding="utf-8"))
    embedded = set(settings["tool"]["pytest"]["ini_options"]["testpaths"])
    real = {folder for suite in suites.ON_REAL_SERVERS for folder in suite}
    assert embedded | real == folders_with_tests()
    assert real - embedded == {"tests/browser", "tests/docker", "tests/edge"}


def test_on_real_servers_a_docker_engine_that_cannot_be_had_is_a_failure(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr("algodock_cli.real.servers.named_servers", lambda _environment: True)
    monkeypatch.setattr("os.geteuid", lambda: 1000)
    monkeypatch.setenv("ALGODOCK_DATA_DIR", str(tmp_path))
    monkeypatch.setenv("CHROMIUM", "/some/chromium")
    monkeypatch.delenv("DOCKER_HOST", raising=False)
    with pytest.raises(ServerMissing, match="name a running one by DOCKER_HOST"):
        verb._on_real_servers(PROJECT, [])
    monkeypatch.setenv("DOCKER_HOST", "unix:///some/docker.sock")
    monkeypatch.delenv("DEPLOYER_DOCKER_IMAGE", raising=False)
    with pytest.raises(ServerMissing, match="so DEPLOYER_DOCKER_IMAGE must be, too"):
        verb._on_real_servers(PROJECT, [])


def test_on_real_servers_a_browser_that_cannot_be_had_is_a_failure(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    ran: list[list[str]] = []

    def run(_project: Path, suite: list[str], _processes: int, _environment: dict[str, str]) -> int:
        ran.append(suite)
        return 0

    monkeypatch.setattr(verb, "_pytest", run)
    monkeypatch.setattr("algodock_cli.real.servers.named_servers", lambda _environment: True)
    monkeypatch.setattr("os.geteuid", lambda: 1000)
    monkeypatch.setenv("ALGODOCK_DATA_DIR", str(tmp_path))
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.delenv("CHROMIUM", raising=False)
    monkeypatch.setenv("DOCKER_HOST", "unix:///some/docker.sock")
    monkeypatch.setenv("DEPLOYER_DOCKER_IMAGE", "some")
    monkeypatch.delenv("NGINX_BINARY", raising=False)
    with pytest.raises(ServerMissing, match="apt-get install chromium"):
        verb._on_real_servers(PROJECT, [])
    assert ran == []
    monkeypatch.setenv("CHROMIUM", "/some/chromium")
    with pytest.raises(ServerMissing, match="apt-get install nginx"):
        verb._on_real_servers(PROJECT, [])
    assert ran == []
    monkeypatch.setenv("NGINX_BINARY", "/some/nginx")
    assert verb._on_real_servers(PROJECT, []) == 0
    assert "tests/browser" in ran[0]


@pytest.mark.parametrize(
    "words", [["tests/unit"], ["-n", "3"], ["-n3"], ["--pdb"], ["-s"], ["tests/unit/cli/test_suites.py::test_it", "-x"]]
)
def test_who_names_tests_or_says_how_to_run_them_gets_one_process(words: list[str]) -> None:
    assert verb._processes(PROJECT, words) == 1


@pytest.mark.parametrize(("cores", "processes"), [(1, 1), (2, 2), (64, 4)])
def test_the_whole_suite_has_a_process_a_core(monkeypatch: pytest.MonkeyPatch, cores: int, processes: int) -> None:
    monkeypatch.setattr("os.sched_getaffinity", lambda _pid: set(range(cores)))
    assert verb._processes(PROJECT, ["-x", "-k", "something"]) == processes


def test_a_test_process_takes_its_own_share() -> None:
    environment = {suites.SHARES: '[{"REDIS_URL": "one"}, {"REDIS_URL": "two"}]', "PYTEST_XDIST_WORKER": "gw1"}
    take_share(environment)
    assert environment["REDIS_URL"] == "two"
    alone = {"REDIS_URL": "given"}
    take_share(alone)
    assert alone == {"REDIS_URL": "given"}
