"""Keys: the first one, without one, whose it is, and one that is revoked."""

from __future__ import annotations

import base64
import stat
from uuid import uuid4

import pytest

from algodock_common.identifiers import uuid7
from algodock_gateway.domain.keys import fingerprint
from tests.integration.gateway.running import Gateway
from tests.integration.gateway.upstream import until

pytestmark = [pytest.mark.asyncio(loop_scope="module"), pytest.mark.timeout(300)]


async def test_the_first_key_lies_in_a_private_file_and_opens_everything(gateway: Gateway) -> None:
    file = gateway.settings.platform.data_dir / "credentials.json"
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    assert set(gateway.credentials) == {"url", "api_key", "callback_secret"}
    assert gateway.credentials["callback_secret"].startswith("whsec_")
    assert (await gateway.api.get("/api/v1/services")).status_code == 200
    row = await gateway.database.fetchrow("SELECT * FROM api_keys")
    assert row is not None
    stored = b"".join(value for value in row.values() if isinstance(value, bytes))
    assert gateway.credentials["api_key"].encode() not in stored
    assert base64.b64decode(gateway.credentials["callback_secret"][6:]) not in stored


@pytest.mark.parametrize(
    ("method", "path"),
    [
        ("GET", "/api/v1/services"),
        ("GET", "/api/v1/tasks"),
        ("POST", "/api/v1/tasks"),
        ("GET", "/api/v1/algorithms"),
        ("GET", "/ai/anything/predict"),
        ("GET", "/metrics"),
        ("GET", "/no/such/path"),
        ("DELETE", "/api/v1/services/x"),
    ],
)
async def test_without_a_key_everything_is_a_401_problem(gateway: Gateway, method: str, path: str) -> None:
    for headers in ({}, {"authorization": "Bearer wrong"}, {"authorization": "Bearer x y"}):
        got = await gateway.open.request(method, path, headers=headers)
        assert got.status_code == 401
        assert got.headers["content-type"] == "application/problem+json"
        assert got.json()["detail"]


async def test_services_ask_whose_key_it_is_and_only_with_the_service_token(gateway: Gateway) -> None:
    verified = await gateway.inside.post("/internal/keys/verify", json={"key": gateway.credentials["api_key"]})
    assert (verified.json()["name"], "admin" in verified.json()["roles"]) == ("admin", True)
    assert (await gateway.inside.post("/internal/keys/verify", json={"key": "no"})).status_code == 401
    path = f"/internal/keys/{verified.json()['key_id']}/callback-secret"
    assert (await gateway.inside.get(path)).json() == {"secrets": [gateway.credentials["callback_secret"]]}
    assert (await gateway.inside.get(f"/internal/keys/{uuid4()}/callback-secret")).status_code == 404
    for client in (gateway.api, gateway.open):
        assert (await client.get(path)).status_code == 401


async def test_a_revoked_key_is_refused_within_seconds_and_a_new_one_known_at_once(gateway: Gateway) -> None:
    key = f"ak_{uuid4().hex}"
    await gateway.database.execute(
        "INSERT INTO api_keys (id, digest, name, roles, callback_secret) VALUES ($1, $2, 'x', '{user}', '')",
        uuid7(), fingerprint(key.encode()),
    )  # fmt: skip
    headers = {"authorization": f"Bearer {key}"}
    assert (await gateway.open.get("/api/v1/services", headers=headers)).status_code == 200
    await gateway.database.execute("UPDATE api_keys SET revoked_at = now() WHERE name = 'x'")

    async def refused() -> bool:
        return (await gateway.open.get("/api/v1/services", headers=headers)).status_code == 401

    await until(refused)
