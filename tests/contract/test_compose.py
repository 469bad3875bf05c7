"""The compose file: it holds together, and names only what is there."""

from __future__ import annotations

import base64
import re
import stat
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml

from algodock_common.events.flow import SERVICES
from algodock_common.settings import PeerSettings
from algodock_common.web import Identity, sign_identity, verify_identity

ROOT = Path(__file__).resolve().parents[2]
MAKE_ENV = ROOT / "infra" / "compose" / "make_env.py"
VARIABLE = re.compile(r"(?<!\$)\$\{([A-Z0-9_]+)(:-|:\?|\})")
# What Compose knows of a service and this file uses; a misspelt key would be passed over without a word.
KEYS = {
    "image", "build", "command", "entrypoint", "environment", "ports", "volumes", "depends_on", "healthcheck",
    "restart", "network_mode", "init", "stop_grace_period", "hostname", "profiles",
}  # fmt: skip
CONDITIONS = {"service_started", "service_healthy", "service_completed_successfully"}


class StrictLoader(yaml.SafeLoader):
    """Refuses a key that stands twice; YAML 1.2 does, PyYAML keeps the last."""


def _mapping(loader: StrictLoader, node: yaml.MappingNode) -> dict[Any, Any]:
    keys = [loader.construct_object(key) for key, _ in node.value if key.tag != "tag:yaml.org,2002:merge"]
    twice = {key for key in keys if keys.count(key) > 1}
    if twice:
        raise yaml.constructor.ConstructorError(None, None, f"key stands twice: {twice}", node.start_mark)
    loader.flatten_mapping(node)
    return loader.construct_mapping(node, deep=True)


StrictLoader.add_constructor("tag:yaml.org,2002:map", _mapping)


@pytest.fixture(scope="module")
def text() -> str:
    return (ROOT / "docker-compose.yml").read_text(encoding="utf-8")


@pytest.fixture(scope="module")
def compose(text: str) -> dict[str, Any]:
    loaded: dict[str, Any] = yaml.load(text, StrictLoader)  # noqa: S506  # a SafeLoader
    return loaded


@pytest.fixture(scope="module")
def services(compose: dict[str, Any]) -> dict[str, dict[str, Any]]:
    found: dict[str, dict[str, Any]] = compose["services"]
    return found


@pytest.fixture(scope="module")
def env_file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    file = tmp_path_factory.mktemp("compose") / ".env"
    subprocess.run([sys.executable, MAKE_ENV, file], check=True, capture_output=True)
    return file


def built(services: dict[str, dict[str, Any]]) -> dict[str, dict[str, Any]]:
    return {name: service for name, service in services.items() if "build" in service}


def test_a_key_that_stands_twice_is_found() -> None:
    with pytest.raises(yaml.constructor.ConstructorError, match="twice"):
        yaml.load("a: {b: 1, b: 2}", StrictLoader)  # noqa: S506  # a SafeLoader


def test_only_known_keys_are_used(compose: dict[str, Any], services: dict[str, dict[str, Any]]) -> None:
    assert {key for key in compose if not key.startswith("x-")} == {"name", "services", "volumes"}
    for name, service in services.items():
        assert set(service) <= KEYS, name


def test_all_of_the_platform_and_its_servers_are_there(services: dict[str, dict[str, Any]]) -> None:
    assert {*SERVICES, "kafka", "postgres", "redis", "minio", "gitea"} <= set(services)


def test_every_built_service_has_a_dockerfile_whose_base_image_is_an_argument(
    services: dict[str, dict[str, Any]],
) -> None:
    for name, service in built(services).items():
        dockerfile = ROOT / service["build"]["context"] / service["build"]["dockerfile"]
        lines = dockerfile.read_text(encoding="utf-8").splitlines()
        assert "BASE_IMAGE" in service["build"]["args"], name
        assert any(line.startswith("ARG BASE_IMAGE=") for line in lines), dockerfile
        bases = [line.split()[1] for line in lines if line.startswith("FROM ")]
        assert bases, dockerfile
        assert set(bases) == {"${BASE_IMAGE}"}, dockerfile


def test_every_service_of_the_repository_has_a_dockerfile_that_compose_builds(
    services: dict[str, dict[str, Any]],
) -> None:
    folders = {path.parent.relative_to(ROOT).as_posix() for path in ROOT.glob("services/*/pyproject.toml")}

    assert {Path(service["build"]["dockerfile"]).parent.as_posix() for service in built(services).values()} == folders


def test_dockerfiles_copy_only_what_is_there_and_what_the_builder_sees() -> None:
    seen = [
        line[1:] for line in (ROOT / ".dockerignore").read_text(encoding="utf-8").splitlines() if line.startswith("!")
    ]
    for dockerfile in ROOT.glob("services/*/Dockerfile"):
        for line in dockerfile.read_text(encoding="utf-8").splitlines():
            if not line.startswith("COPY ") or "--from=" in line:
                continue
            for source in line.split()[1:-1]:
                assert (ROOT / source).exists(), f"{dockerfile}: {source}"
                assert any(source == path or source.startswith(f"{path}/") for path in seen), source


def test_dockerfiles_differ_only_in_what_they_name() -> None:
    """Docker has no include: what the services' files share stands in each, and must not drift apart."""
    shapes = set()
    for name in ("gateway", "gitea-sync", "registry", "runner"):
        lines = (ROOT / "services" / name / "Dockerfile").read_text(encoding="utf-8").splitlines()[1:]
        text = re.sub(r"(HTTP_PORT=|EXPOSE )\d+", r"\1…", "\n".join(lines))
        text = re.sub(r"RUN apt-get update .*?/lists/\*\n", "", text, flags=re.DOTALL)  # what one needs of the system
        shapes.add(text.replace(f"algodock_{name.replace('-', '_')}", "…").replace(f"services/{name}", "…"))
    assert len(shapes) == 1, "\n---\n".join(shapes)


def test_dockerfiles_start_modules_that_exist() -> None:
    for dockerfile in ROOT.glob("services/*/Dockerfile"):
        (module,) = re.findall(r'ENTRYPOINT \["python", "-m", "(\w+)"\]', dockerfile.read_text(encoding="utf-8"))
        assert (dockerfile.parent / module / "__main__.py").is_file(), module


def test_images_have_a_version(services: dict[str, dict[str, Any]]) -> None:
    for name, service in services.items():
        _, _, tag = service["image"].rpartition(":")
        assert any(character.isdigit() for character in tag), name
        assert "latest" not in service["image"], name


def test_every_service_says_whether_it_is_healthy(services: dict[str, dict[str, Any]]) -> None:
    for name, service in services.items():
        check = service["healthcheck"]
        # `node` only holds the network: there is nothing to ask.
        assert check == {"disable": True} if name == "node" else {"test", "interval", "timeout"} <= set(check), name


def test_dependencies_exist_and_say_their_condition(services: dict[str, dict[str, Any]]) -> None:
    for name, service in services.items():
        for other, how in service.get("depends_on", {}).items():
            assert how["condition"] in CONDITIONS, name
            if how["condition"] == "service_healthy":
                assert "test" in services[other]["healthcheck"], f"{name} waits for {other}"


def test_nobody_waits_in_a_circle(services: dict[str, dict[str, Any]]) -> None:
    below = {name: set(service.get("depends_on", {})) for name, service in services.items()}
    while below:
        free = {name for name, others in below.items() if not others}
        assert free, f"these wait for each other: {sorted(below)}"
        below = {name: others - free for name, others in below.items() if name not in free}


def test_a_shared_network_is_that_of_a_service_that_starts_first(services: dict[str, dict[str, Any]]) -> None:
    for name, service in services.items():
        mode = service.get("network_mode")
        if mode is not None:
            owner = mode.removeprefix("service:")
            assert owner in services, name
            assert owner in service["depends_on"], name
            assert "ports" not in service, f"{name}: the network's owner publishes the ports"


def test_volumes_are_declared_and_used_and_files_exist(
    compose: dict[str, Any], services: dict[str, dict[str, Any]]
) -> None:
    sources = [volume.split(":")[0] for service in services.values() for volume in service.get("volumes", [])]

    assert {source for source in sources if not source.startswith("./")} == set(compose["volumes"])
    assert all((ROOT / source).is_file() for source in sources if source.startswith("./"))


def test_what_keeps_data_keeps_it_in_a_volume(services: dict[str, dict[str, Any]]) -> None:
    for name in ("postgres", "kafka", "minio", "gitea", "gitea-sync", "deployer", "gateway"):
        assert services[name]["volumes"], name


def test_ports_are_published_for_this_machine_unless_somebody_says_otherwise(
    services: dict[str, dict[str, Any]],
) -> None:
    for name, service in services.items():
        for port in service.get("ports", []):
            assert port.startswith(("127.0.0.1:", "${BIND_ADDRESS:-127.0.0.1}:")), name


def test_services_listen_where_their_peers_look_for_them(services: dict[str, dict[str, Any]]) -> None:
    peers = PeerSettings.model_construct()
    for name in SERVICES:
        environment = services[name]["environment"]
        assert environment["HTTP_HOST"] == ("0.0.0.0" if name == "gateway" else "127.0.0.1"), name  # noqa: S104
        if name != "worker":
            url = getattr(peers, f"{name.replace('-', '_')}_url")
            assert url.endswith(f":{environment['HTTP_PORT']}"), name


def test_only_the_gateway_can_sign_identities(services: dict[str, dict[str, Any]]) -> None:
    holders = [name for name, service in services.items() if "IDENTITY_PRIVATE_KEY" in service.get("environment", {})]

    assert holders == ["gateway"]


def test_no_secret_stands_in_the_file(text: str) -> None:
    for line in text.splitlines():
        name, _, value = line.strip().partition(": ")
        if re.search(r"(PASSWORD|SECRET_KEY|PRIVATE_KEY|TOKEN)$", name):
            assert VARIABLE.match(value), line


def test_every_variable_that_must_be_set_is_written_by_the_script(text: str, env_file: Path) -> None:
    written = {line.partition("=")[0] for line in env_file.read_text(encoding="utf-8").splitlines()}

    assert {name for name, how in VARIABLE.findall(text) if how == ":?"} == written
    assert {name for name, how in VARIABLE.findall(text) if how == "}"} == set()


def test_the_scripts_secrets_are_private_random_and_a_pair(env_file: Path) -> None:
    values = dict(line.split("=", 1) for line in env_file.read_text(encoding="utf-8").splitlines())
    ada = Identity("k1", "Ada", ("admin",))

    assert stat.S_IMODE(env_file.stat().st_mode) == 0o600
    assert len(set(values.values())) == len(values)
    assert len(base64.urlsafe_b64decode(values["KAFKA_CLUSTER_ID"] + "==")) == 16
    assert verify_identity(sign_identity(ada, values["IDENTITY_PRIVATE_KEY"]), values["IDENTITY_PUBLIC_KEY"]) == ada


def test_the_script_never_replaces_secrets(env_file: Path) -> None:
    before = env_file.read_text(encoding="utf-8")

    again = subprocess.run([sys.executable, MAKE_ENV, env_file], check=False, capture_output=True, text=True)

    assert (again.returncode, env_file.read_text(encoding="utf-8")) == (1, before)
    assert "nothing is changed" in again.stderr


def test_prometheus_scrapes_every_service(services: dict[str, dict[str, Any]]) -> None:
    config = yaml.load((ROOT / "infra/prometheus/prometheus.yml").read_text(encoding="utf-8"), StrictLoader)  # noqa: S506

    targets = {
        entry["labels"]["service"]: entry["targets"]
        for job in config["scrape_configs"]
        for entry in job["static_configs"]
    }
    assert targets == {name: [f"localhost:{services[name]['environment']['HTTP_PORT']}"] for name in SERVICES}
