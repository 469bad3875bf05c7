"""What the services are told: the person's environment before ours, and secrets only where they belong."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from algodock_cli.stack.data_folder import DataFolder
from algodock_cli.stack.errors import StackError
from algodock_cli.stack.ports import PortBlock
from algodock_cli.stack.programs import Program
from algodock_cli.stack.secret_store import Secrets
from algodock_cli.stack.servers import embedded_servers
from algodock_cli.stack.services import SERVICES, platform_environment, preferred_ports, service_programs

BLOCK = PortBlock(8000)


def programs(tmp_path: Path, workers: int = 2, **given: str) -> dict[str, Program]:
    ports = preferred_ports(BLOCK, [], workers)
    secrets = Secrets.load_or_make(tmp_path / "secrets.json")
    decided = platform_environment(
        DataFolder(tmp_path), secrets, BLOCK, ports, {"REDIS_URL": "redis://embedded"}, given
    )
    return {program.name: program for program in service_programs(ports, decided, given, workers)}


def test_there_are_five_services_and_as_many_workers_as_asked_for(tmp_path: Path) -> None:
    assert list(programs(tmp_path, workers=2)) == [*SERVICES, "worker-1", "worker-2"]


def test_each_has_a_port_of_its_own_in_the_platforms_part_of_the_block(tmp_path: Path) -> None:
    ports = [int(program.environment["HTTP_PORT"]) for program in programs(tmp_path, workers=32).values()]
    assert len(ports) == len(set(ports))
    assert set(ports) <= set(BLOCK.platform)


def test_only_the_gateway_has_the_key_that_signs_identities(tmp_path: Path) -> None:
    having = [name for name, one in programs(tmp_path).items() if "IDENTITY_PRIVATE_KEY" in one.environment]
    assert having == ["gateway"]
    assert all(one.environment["IDENTITY_PUBLIC_KEY"] for one in programs(tmp_path).values())


def test_what_the_person_set_goes_before_what_we_would_choose(tmp_path: Path) -> None:
    told = programs(tmp_path, SECRET_KEY="s" * 40, REDIS_URL="redis://mine", SERVICE_ROOT_DIR="/opt/ai-services")
    environment = told["deployer"].environment
    assert environment["SECRET_KEY"] == "s" * 40
    assert environment["REDIS_URL"] == "redis://mine"
    assert environment["SERVICE_ROOT_DIR"] == "/opt/ai-services"


def test_services_find_each_other_and_their_folder(tmp_path: Path) -> None:
    environment = programs(tmp_path)["runner"].environment
    assert environment["REGISTRY_URL"] == "http://127.0.0.1:8013"
    assert environment["GATEWAY_URL"] == "http://127.0.0.1:8010"
    assert environment["ALGODOCK_DATA_DIR"] == str(tmp_path)
    assert environment["PORT_RANGE"] == "8100-8999"


def test_the_persons_shell_does_not_change_our_interpreter(tmp_path: Path) -> None:
    environment = programs(tmp_path, PYTHONPATH="/evil", PYTHONDONTWRITEBYTECODE="1", HTTP_PROXY="http://p:1")[
        "deployer"
    ].environment
    assert "PYTHONPATH" not in environment
    assert "PYTHONDONTWRITEBYTECODE" not in environment
    assert environment["HTTP_PROXY"] == "http://p:1"
    assert environment["PATH"].startswith(os.defpath)


def test_an_object_store_without_its_keys_is_refused_at_once(tmp_path: Path) -> None:
    with pytest.raises(StackError, match="S3_ACCESS_KEY"):
        programs(tmp_path, S3_ENDPOINT="http://127.0.0.1:9000")


def test_a_server_that_is_named_is_not_embedded() -> None:
    assert set(embedded_servers({})) == {"postgres", "redis", "kafka", "objects"}
    assert set(embedded_servers({"DATABASE_URL": "postgresql://x/y", "REDIS_URL": ""})) == {"redis", "kafka", "objects"}
