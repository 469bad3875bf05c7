"""Fixtures that every test may use; the servers are the real programs, embedded or named by the environment."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

import tests.outside.platform as _  # noqa: F401  # it keeps the environment as it is now

if TYPE_CHECKING:
    from algodock_common.settings import DatabaseSettings, KafkaSettings, ObjectStoreSettings, RedisSettings
    from tests.outside.callbacks import Receiver
    from tests.outside.platform import Platform


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
