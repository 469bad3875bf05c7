"""Fixtures that every test may use; the servers are the real programs, embedded or named by the environment."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from tests.outside.shares import take_share

take_share(os.environ)

import tests.outside.platform as _  # noqa: E402, F401  # it keeps the environment as it is now

if TYPE_CHECKING:
    from xdist.scheduler import LoadScopeScheduling

    from algodock_common.settings import DatabaseSettings, KafkaSettings, ObjectStoreSettings, RedisSettings
    from tests.outside.callbacks import Receiver
    from tests.outside.platform import Platform


_HEAVIEST_FIRST = ("faults", "e2e", "docker", "browser", "edge", "integration", "contract", "unit")
"""Folders of tests as they are begun: what takes minutes is not left for the end, when no other process has work."""


class _FailuresAtOnce:
    """Prints each failure when it happens: a run of half an hour need not end before its reader knows."""

    def __init__(self, reporter: pytest.TerminalReporter) -> None:
        self._reporter = reporter

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        if report.failed:
            self._reporter.write_line(f"\n{report.nodeid} failed ({report.when}):\n{report.longreprtext}", red=True)


def pytest_configure(config: pytest.Config) -> None:
    """Tell failures at once where tests run side by side; one process alone tells them as pytest does."""
    reporter = config.pluginmanager.get_plugin("terminalreporter")
    if config.getoption("numprocesses", None) and isinstance(reporter, pytest.TerminalReporter):
        config.pluginmanager.register(_FailuresAtOnce(reporter))


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Begin with the heaviest."""
    places = {item: item.path.relative_to(Path(__file__).parent) for item in items if _ours(item)}
    if places:
        items.sort(key=lambda item: _HEAVIEST_FIRST.index(places[item].parts[0]) if item in places else -1)


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_make_scheduler(config: pytest.Config, log: Any) -> LoadScopeScheduling:
    """Keep the tests of a file in one process, and those of the one Docker Engine.

    By xdist's own marks it cannot be said: they are written where pytest 9.2 does not look any more.
    """
    from xdist.scheduler import LoadScopeScheduling

    class Together(LoadScopeScheduling):  # type: ignore[misc]  # published without types
        def _split_scope(self, nodeid: str) -> str:
            file = nodeid.partition("::")[0]
            return "docker" if file.startswith("tests/docker/") else file

    return Together(config, log)


def _ours(item: pytest.Item) -> bool:
    return item.path.is_relative_to(Path(__file__).parent)


@pytest.fixture(scope="session")
def servers(tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, str]]:
    """Start PostgreSQL, Redis, the Kafka broker and the S3 store once; give the environment that names them.

    Servers that the environment names already are used as they are.
    """
    from algodock_cli.stack import EmbeddedServers  # only tests that need servers pay for the import

    with EmbeddedServers(Path(tmp_path_factory.mktemp("servers"))) as running:
        yield running.environment


@pytest.fixture(scope="session")
def server_environment(servers: dict[str, str]) -> Iterator[dict[str, str]]:
    """Put the servers' URLs into this process's environment, for settings that read it."""
    before = dict(os.environ)
    os.environ.update(servers)
    yield servers
    os.environ.clear()
    os.environ.update(before)


@pytest.fixture
def database_settings(server_environment: dict[str, str]) -> DatabaseSettings:  # noqa: ARG001  # it is read from there
    """Settings of the running PostgreSQL."""
    from algodock_common.settings import DatabaseSettings

    return DatabaseSettings()


@pytest.fixture
def kafka_settings(server_environment: dict[str, str]) -> KafkaSettings:  # noqa: ARG001  # it is read from there
    """Settings of the running broker."""
    from algodock_common.settings import KafkaSettings

    return KafkaSettings()


@pytest.fixture
def redis_settings(server_environment: dict[str, str]) -> RedisSettings:  # noqa: ARG001  # it is read from there
    """Settings of the running Redis."""
    from algodock_common.settings import RedisSettings

    return RedisSettings()


@pytest.fixture
def object_store_settings(server_environment: dict[str, str]) -> ObjectStoreSettings:  # noqa: ARG001  # it is read from there
    """Settings of the running S3 store."""
    from algodock_common.settings import ObjectStoreSettings

    return ObjectStoreSettings()


@pytest.fixture(scope="module")
def platform(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Platform]:
    """Start a whole platform, as ``algodock up`` does; tests reach it from outside.

    One at a time: two platforms on one real broker would take each other's messages.
    """
    from tests.outside.platform import running_platform

    with running_platform(tmp_path_factory.mktemp("platform")) as running:
        yield running


@pytest.fixture
def receiver() -> Iterator[Receiver]:
    """Listen for callbacks."""
    from tests.outside.callbacks import Receiver

    with Receiver.listening() as listening:
        yield listening
