"""Algorithms in containers, on a real Docker Engine: `./algodock test --real` starts one."""

from __future__ import annotations

import json
import os
import signal
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import httpx
import pytest

from tests.outside.platform import Platform, eventually, running_platform
from tests.outside.repository import Repository

pytestmark = pytest.mark.timeout(400)

DOCKERFILE = """ARG BASE
FROM ${BASE}
COPY main.py /app/main.py
CMD ["python3", "-u", "/app/main.py"]
"""
MANIFEST = "resources: {memory: 256Mi, cpu: 0.5}\n"
SERVER = """
import json, os, signal, sys
from http.server import BaseHTTPRequestHandler, HTTPServer
signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))
def writes(path):
    try:
        open(path, "w").close()
    except OSError as error:
        return error.strerror
    return "written"
class Handler(BaseHTTPRequestHandler):
    def do_GET(self):
        said = {"version": "VERSION", "root": writes("/app/x"), "tmp": writes("/tmp/x"), "uid": os.getuid(),
                "secrets": [name for name in os.environ if name in ("SECRET_KEY", "DATABASE_URL")]}
        body = json.dumps(said).encode()
        self.send_response(200); self.send_header("content-type", "application/json")
        self.send_header("content-length", str(len(body))); self.end_headers(); self.wfile.write(body)
    do_POST = do_GET
    def log_message(self, *_): pass
print("serving VERSION", flush=True)
HTTPServer((os.environ["HOST"], int(os.environ["PORT"])), Handler).serve_forever()
"""

BEATING = """
import http.client, os, urllib.parse

def predict(gateway: int) -> dict:
    url = urllib.parse.urlsplit(os.environ["ALGODOCK_HEARTBEAT_URL"])
    def ask(method, path, port=url.port):
        connection = http.client.HTTPConnection(url.hostname, port, timeout=10)
        try:
            connection.request(method, path, headers={"authorization": "Bearer " + os.environ["ALGODOCK_TOKEN"]})
            return connection.getresponse().status
        except OSError as error:
            return error.strerror
        finally:
            connection.close()
    return {"url": url.geturl(), "own": ask("POST", "/heartbeat"), "other": ask("POST", "/internal/instances"),
            "read": ask("GET", "/heartbeat"), "gateway": ask("GET", "/health", gateway)}
"""


@pytest.fixture(scope="module")
def platform(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Platform]:
    with running_platform(
        tmp_path_factory.mktemp("containers"),
        ALGODOCK_SERVICE_BROUGHT_IN_DEPLOYMENT_MODE="docker",
        ALGODOCK_SERVICE_BEATING_DEPLOYMENT_MODE="docker",
    ) as running:
        yield running
    assert containers(running) == [], "`down` ends them"


def engine() -> httpx.Client:
    socket = os.environ["DOCKER_HOST"].removeprefix("unix://")
    return httpx.Client(base_url="http://docker", transport=httpx.HTTPTransport(uds=socket), timeout=30)


def containers(platform: Platform, name: str = "") -> list[dict[str, Any]]:
    home = Path(platform.environment["ALGODOCK_DATA_DIR"]).resolve() / "algorithms" / "docker"
    with engine() as client:
        filters = json.dumps({"label": [f"algodock.home={home}"], "name": [f"ai-{name}"]})
        found = client.get("/containers/json", params={"all": "true", "filters": filters}).json()
        return [client.get(f"/containers/{one['Id']}/json").json() for one in found]


def repository(platform: Platform, name: str, folder: Path) -> Repository:
    made = platform.call("POST", "/api/v1/algorithms", json={"name": name})
    return Repository(name, folder / name, made.json()["clone_url"], platform.api_key)


def ended(platform: Platform, repository: Repository, commit: str) -> dict[str, Any]:
    repository.push()

    def look() -> dict[str, Any] | None:
        release = platform.release_of(repository.name, commit)
        return release if release and release["state"] in {"live", "failed"} else None

    release = eventually(look, 180)
    assert release is not None
    return release


def push(platform: Platform, repository: Repository, version: str, dockerfile: str = DOCKERFILE) -> dict[str, Any]:
    files = {"main.py": SERVER.replace("VERSION", version), "Dockerfile": dockerfile}
    return ended(platform, repository, repository.commit(files | {"algodock.yaml": f"runtime: docker\n{MANIFEST}"}))


def answer(platform: Platform, name: str) -> dict[str, Any]:
    eventually(lambda: platform.predict(name, {}).status_code == 200)
    said: dict[str, Any] = platform.predict(name, {}).json()
    return said


def test_a_dockerfile_becomes_a_container_that_is_held_to_its_own(platform: Platform, tmp_path: Path) -> None:
    boxed = repository(platform, "boxed", tmp_path)
    release = push(platform, boxed, "one")
    assert release["state"] == "live", release["reason"]
    said = answer(platform, "boxed")
    assert (said["version"], said["root"], said["tmp"]) == ("one", "Read-only file system", "written")
    assert said["secrets"] == []
    (first,) = containers(platform, "boxed")
    host = first["HostConfig"]
    port = platform.service("boxed")["port"]
    assert host["PortBindings"] == {f"{port}/tcp": [{"HostIp": "127.0.0.1", "HostPort": str(port)}]}
    assert (host["Memory"], host["NanoCpus"]) == (256 * 2**20, 500_000_000)
    assert (host["SecurityOpt"], host["CapDrop"]) == (["no-new-privileges"], ["ALL"])

    deployer = platform.pid("deployer")
    os.kill(deployer, signal.SIGKILL)
    eventually(lambda: platform.pid("deployer") not in {0, deployer})
    platform.until_ready()
    assert [one["Id"] for one in containers(platform, "boxed")] == [first["Id"]], "it outlives the deployer"

    os.kill(first["State"]["Pid"], signal.SIGKILL)
    eventually(lambda: containers(platform, "boxed")[0]["State"]["Pid"] not in {0, first["State"]["Pid"]})
    assert answer(platform, "boxed")["version"] == "one", "the engine started it again"

    assert push(platform, boxed, "two")["state"] == "live"
    assert answer(platform, "boxed")["version"] == "two"
    eventually(lambda: first["Id"] not in [one["Id"] for one in containers(platform, "boxed")])
    logs = platform.call("GET", "/api/v1/services/logs/boxed").json()["lines"]
    assert any("serving two" in line for line in logs)

    failed = push(platform, boxed, "three", DOCKERFILE + "RUN echo no such thing >&2; exit 9\n")
    assert failed["state"] == "failed"
    assert "environment: the image cannot be built" in failed["reason"]
    assert "returned a non-zero code: 9" in failed["reason"]
    assert answer(platform, "boxed")["version"] == "two", "the old one serves on"

    assert platform.call("POST", "/api/v1/services/stop/boxed").status_code in {200, 202}
    eventually(lambda: not containers(platform, "boxed"))


def test_a_program_without_a_dockerfile_runs_in_the_platforms_image(platform: Platform, tmp_path: Path) -> None:
    brought = repository(platform, "brought-in", tmp_path)
    release = ended(platform, brought, brought.commit({"main.py": SERVER.replace("VERSION", "one")}))
    assert release["state"] == "live", release["reason"]
    said = answer(platform, "brought-in")
    assert (said["version"], said["tmp"], said["secrets"]) == ("one", "written", [])
    (only,) = containers(platform, "brought-in")
    assert only["Config"]["Image"] == os.environ["DEPLOYER_DOCKER_IMAGE"]
    assert (only["Config"]["User"] or "0:0") == f"{said['uid']}:{said['uid']}", "its uid, where it has one here"


def test_a_containers_heartbeats_arrive_and_nothing_else_does(platform: Platform, tmp_path: Path) -> None:
    beating = repository(platform, "beating", tmp_path)
    release = ended(platform, beating, beating.commit({"ai_algorithm.py": BEATING}))
    assert release["state"] == "live", release["reason"]

    def beat() -> dict[str, Any]:
        found = platform.call("GET", "/api/v1/registry/services").json()["services"]
        (one,) = next((service["instances"] for service in found if service["name"] == "beating"), [{}])
        return one

    eventually(beat, accept=lambda one: one["sends_heartbeats"] and "uptime_s" in one["metrics"])
    gateway = {"gateway": urlsplit(platform.url).port}
    said = platform.answered("beating", gateway).json()
    assert (said["own"], said["other"], said["read"], said["gateway"]) == (204, 404, 405, "Connection refused")
    (only,) = containers(platform, "beating")
    url = urlsplit(said["url"])
    assert url.hostname == only["NetworkSettings"]["Networks"]["bridge"]["Gateway"]

    deployer = platform.pid("deployer")
    os.kill(deployer, signal.SIGKILL)
    eventually(lambda: platform.pid("deployer") not in {0, deployer})
    platform.until_ready()
    calls = eventually(lambda: beat()["metrics"].get("calls"), accept=lambda count: count is not None)
    platform.answered("beating", gateway)
    eventually(beat, accept=lambda one: one["metrics"].get("calls", 0) > calls)

    for name in ("boxed", "brought-in", "beating"):
        platform.call("POST", f"/api/v1/services/stop/{name}")

    def closed() -> bool:
        try:
            httpx.get(said["url"], trust_env=False).raise_for_status()
        except httpx.ConnectError:
            return True
        except httpx.HTTPStatusError:
            return False
        return False

    eventually(closed)
