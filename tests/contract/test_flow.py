"""The flow table against the services: what each really subscribes to and what its code makes."""

from __future__ import annotations

import ast
import importlib.util
from pathlib import Path
from typing import Any

import pytest

from algodock_common.events import FLOW, Event, TaskReady
from algodock_common.events.envelope import EventData
from algodock_common.events.flow import SERVICES, consumed_by, produced_by
from algodock_common.messaging import Bus
from algodock_common.settings import KafkaSettings, SecretSettings

ENVIRONMENT = {
    "DATABASE_URL": "postgresql://nobody:x@127.0.0.1:9/none",
    "KAFKA_BOOTSTRAP": "127.0.0.1:9",
    "REDIS_URL": "redis://:x@127.0.0.1:9/0",
    "S3_ENDPOINT": "http://127.0.0.1:9",
    "S3_ACCESS_KEY": "access-key-12",
    "S3_SECRET_KEY": "secret-key-12",
    "SECRET_KEY": "s" * 40,
    "HTTP_PORT": "9",
}
PACKAGES = {
    "gitea-sync": {"algodock_gitea_sync"},
    "deployer": {"algodock_deployer"},
    "registry": {"algodock_registry"},
    "runner": {"algodock_runner"},
    "worker": {"algodock_runner"},
    "gateway": {"algodock_gateway"},
}
BY_NAME = {step.event.__name__: step for step in FLOW}


@pytest.fixture
def environment(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    from algodock_common.web import new_identity_keys

    private, public = new_identity_keys()
    for name, value in ENVIRONMENT.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setenv("ALGODOCK_DATA_DIR", str(tmp_path))
    monkeypatch.setenv("IDENTITY_PUBLIC_KEY", public)
    monkeypatch.setenv("IDENTITY_PRIVATE_KEY", private)


def build(service: str) -> Any:
    """Wire one service as its ``main`` does; nothing connects."""
    if service in {"runner", "worker"}:
        from algodock_runner import main as runner
        from algodock_runner.settings import Settings

        return (runner.api if service == "runner" else runner.worker)(Settings())
    package = f"algodock_{service.replace('-', '_')}"
    main, settings = (importlib.import_module(f"{package}.{room}") for room in ("main", "settings"))
    return main.create_app(settings.Settings())


@pytest.mark.parametrize("service", SERVICES)
@pytest.mark.usefixtures("environment")
async def test_a_service_subscribes_to_exactly_what_the_table_gives_it(
    service: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen: set[tuple[str, type[EventData]]] = set()
    subscribe = Bus.subscribe

    def record(self: Bus, event: type[EventData], *args: Any, **options: Any) -> None:
        seen.add((self.service, event))
        subscribe(self, event, *args, **options)

    monkeypatch.setattr(Bus, "subscribe", record)
    build(service)
    assert seen == {(service, step.event) for step in consumed_by(service)}


def made_by(package: str) -> set[str]:
    """Return the topics whose events the package's code makes."""
    spec = importlib.util.find_spec(package)
    assert spec is not None
    assert spec.submodule_search_locations
    folder = next(iter(spec.submodule_search_locations))
    found = set()
    for path in Path(folder).rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text())):
            if not isinstance(node, ast.Call):
                continue
            made = node.func
            if isinstance(made, ast.Attribute) and made.attr == "model_validate":
                made = made.value
            if isinstance(made, ast.Name) and made.id in BY_NAME:
                found.add(BY_NAME[made.id].topic)
    return found


@pytest.mark.parametrize("package", sorted({name for names in PACKAGES.values() for name in names}))
def test_a_package_makes_the_events_that_the_table_has_it_produce_and_no_strangers(package: str) -> None:
    """Beside what it produces a service may make what it consumes: a command to itself, say."""
    names = [name for name, packages in PACKAGES.items() if package in packages]
    # Dead letters are made in one place for all, where messages are taken in.
    produced = {step.topic for name in names for step in produced_by(name)} - {"dead.letters"}
    consumed = {step.topic for name in names for step in consumed_by(name)}
    assert produced <= made_by(package) <= produced | consumed


async def test_the_bus_refuses_to_publish_what_the_table_does_not_have_its_service_produce() -> None:
    bus = Bus(KafkaSettings(bootstrap="127.0.0.1:9"), SecretSettings(secret_key="s" * 40), service="registry")
    with pytest.raises(ValueError, match="registry is no producer of task"):
        await bus.publish(Event.of(TaskReady(algorithm="echo"), source="/registry"))
