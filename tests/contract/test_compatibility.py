"""The interface that existing programs already speak, line by line, at a real gateway.

Each case is one line of the two tables of calls; later parts of the interface add theirs.
"""

from __future__ import annotations

from collections.abc import AsyncIterator
from dataclasses import dataclass
from typing import Any
from uuid import UUID, uuid4

import pytest
import pytest_asyncio

from algodock_common.events import InstanceChanged
from algodock_common.identifiers import uuid7
from tests.integration.gateway.running import Gateway, running_gateway
from tests.integration.gateway.upstream import Upstream, answering, until

pytestmark = [pytest.mark.asyncio(loop_scope="module"), pytest.mark.timeout(300)]


@dataclass
class Known:
    """A gateway that knows one deployed algorithm with a release."""

    gateway: Gateway
    name: str
    id: UUID
    release: str


@pytest_asyncio.fixture(loop_scope="module", scope="module")
async def known(server_environment: dict[str, str], tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Known]:
    async with running_gateway(server_environment, tmp_path_factory.mktemp("data")) as gateway:
        name, algorithm_id = await gateway.algorithm()
        release = str(uuid7())
        gateway.peers.releases[name] = [
            {"id": release, "commit": "c" * 40, "state": "live", "reason": "", "steps": [], "step": ""}
        ]
        yield Known(gateway, name, algorithm_id, release)


@pytest.mark.parametrize(
    ("method", "path", "body", "status", "fields"),
    [
        ("GET", "/services", None, 200, {"success", "services"}),
        ("GET", "/services?state=running", None, 200, {"success", "services"}),
        ("GET", "/services/status/{id}", None, 200, {"service_id", "status", "health", "message"}),
        ("GET", "/services/logs/{id}?lines=100", None, 200, {"service_id", "lines"}),
        ("POST", "/services/start/{id}", None, 202, {"success", "service_id", "status"}),
        ("POST", "/services/stop/{id}", None, 202, {"success", "service_id", "status"}),
        ("POST", "/services/restart/{id}", None, 202, {"success", "service_id", "status"}),
        ("POST", "/services/redeploy/{id}", None, 202, {"success", "service_id", "status"}),
        ("POST", "/services/batch", {"action": "restart", "all": True}, 202, {"success", "batch_id"}),
        ("GET", "/services/timeline/{id}?limit=7", None, 200, {"service_id", "entries", "next"}),
        ("GET", "/services/metrics/{id}", None, 200, {"service_id", "instances"}),
        ("GET", "/registry/services", None, 200, {"services"}),
        ("GET", "/registry/discover/{name}", None, 200, {"name", "instances"}),
        ("GET", "/services/releases/{id}", None, 200, {"releases"}),
        ("POST", "/services/rollback/{id}", None, 202, {"success"}),
        ("POST", "/services/rollback/{id}", {"release_id": "{release}"}, 202, {"success"}),
        ("POST", "/services/promote/{id}", None, 202, {"success", "service_id", "status"}),
        ("DELETE", "/services/{id}", None, 202, {"success", "service_id"}),
        ("POST", "/algorithms", {"name": "{name}"}, 200, {"id", "name", "clone_url"}),
        ("POST", "/tasks", {"algorithm": "{name}", "input": {}}, 202, {"id", "state"}),
    ],
)
@pytest.mark.parametrize("by", ["name", "id"])
async def test_a_call_has_the_fields_that_programs_read(
    known: Known, method: str, path: str, body: dict[str, Any] | None, status: int, fields: set[str], by: str
) -> None:
    given = {"id": known.name if by == "name" else str(known.id), "name": known.name, "release": known.release}
    filled = {key: value.format(**given) if isinstance(value, str) else value for key, value in (body or {}).items()}
    got = await known.gateway.api.request(
        method, "/api/v1" + path.format(**given), json=None if body is None else filled
    )
    assert got.status_code == status, got.text
    assert fields <= got.json().keys()


async def test_a_service_is_listed_with_its_own_port(known: Known) -> None:
    services = (await known.gateway.api.get("/api/v1/services")).json()["services"]
    one = next(one for one in services if one["name"] == known.name)
    assert {"id", "name", "status", "port", "host", "api_url"} <= one.keys()
    assert (one["port"], one["api_url"].endswith(f"/ai/{known.name}")) == (8123, True)


async def test_a_release_is_listed_with_its_state_reason_and_steps(known: Known) -> None:
    releases = (await known.gateway.api.get(f"/api/v1/services/releases/{known.name}")).json()["releases"]
    assert {"id", "commit", "state", "reason", "steps"} <= releases[0].keys()


async def test_deploy_from_gitea_takes_the_body_that_programs_send(known: Known) -> None:
    body = {
        "algorithm_id": str(known.id),
        "repo_url": "https://git.example.com/team/x.git",
        "branch": "main",
        "service_config": {"name": known.name, "port": 8001, "host": "0.0.0.0", "timeout": 30},  # noqa: S104
    }
    got = await known.gateway.api.post("/api/v1/services/deploy-from-gitea", json=body)
    assert got.status_code == 202
    assert {"success", "service_id", "status", "api_url", "release_id", "error"} <= got.json().keys()
    assert got.json()["status"] == "deploying"
    waited = await known.gateway.api.post("/api/v1/services/deploy-from-gitea?wait=60", json=body)
    assert (waited.status_code, waited.json()["status"]) == (200, "running")


async def test_an_upload_answers_commit_and_files(known: Known) -> None:
    got = await known.gateway.api.post(
        "/api/v1/gitea/repos/upload", data={"algorithm_id": str(known.id)}, files=[("files", ("main.py", b"x"))]
    )
    assert got.status_code == 200
    assert {"success", "commit", "files"} <= got.json().keys()


async def test_a_new_algorithm_is_201(known: Known) -> None:
    got = await known.gateway.api.post("/api/v1/algorithms", json={"name": f"a-{uuid4().hex[:8]}"})
    assert got.status_code == 201


async def test_a_task_is_read_waited_for_and_cancelled(known: Known) -> None:
    made = (await known.gateway.api.post("/api/v1/tasks", json={"algorithm": known.name})).json()
    known.gateway.peers.tasks[UUID(made["id"])] |= {"state": "succeeded", "result_url": "http://x"}
    got = await known.gateway.api.get(f"/api/v1/tasks/{made['id']}?wait=5")
    assert {"id", "state", "algorithm", "attempt", "result_url"} <= got.json().keys()
    assert (await known.gateway.api.get(f"/api/v1/tasks/{made['id']}/result")).status_code == 307
    assert (
        await known.gateway.api.post(f"/api/v1/tasks/{made['id']}/cancel", json={"force": False})
    ).status_code == 202


async def test_predict_answers_what_the_algorithm_answers(known: Known) -> None:
    parts = b'HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: 14\r\n\r\n{"label":"ok"}'
    upstream = Upstream(answering(parts))
    async with await upstream.listen():
        peers = known.gateway.peers
        peers.epoch += 1
        peers.instances.append(
            InstanceChanged(
                instance_id=uuid7(),
                algorithm_id=known.id,
                algorithm=known.name,
                node_id="n",
                host="127.0.0.1",
                port=upstream.port,
                base_url=f"http://127.0.0.1:{upstream.port}",
                release_id=uuid7(),
                state="ready",
                epoch=peers.epoch,
            )
        )
        body = {"input_data": ["这是一个测试文本"], "batch_id": "test_001"}

        async def ready() -> bool:
            return (await known.gateway.api.post(f"/ai/{known.name}/predict", json=body)).status_code == 200

        await until(ready)
        got = await known.gateway.api.post(f"/ai/{known.name}/predict", json=body)
        assert got.json() == {"label": "ok"}


async def test_health_is_open_and_has_no_prefix(known: Known) -> None:
    assert (await known.gateway.open.get("/api/health")).status_code == 200


@pytest.mark.parametrize(
    ("method", "path"),
    [
        ("GET", "/services/status/no-such"),
        ("POST", "/services/start/no-such"),
        ("GET", "/tasks/00000000-0000-7000-8000-000000000000"),
        ("GET", "/no-such-path"),
        ("PUT", "/algorithms"),
        ("POST", "/algorithms"),
    ],
)
async def test_every_error_is_a_problem_with_a_detail(known: Known, method: str, path: str) -> None:
    got = await known.gateway.api.request(method, "/api/v1" + path, content=b"{no json")
    assert got.status_code in {400, 404, 405, 422}
    assert got.headers["content-type"].startswith("application/problem+json")
    assert got.json()["detail"]
