"""Callback secrets: replaced by their owners, valid side by side for a while; callbacks are asked of the runner."""

from __future__ import annotations

import json
import stat
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any
from uuid import UUID

import pytest
import pytest_asyncio

from algodock_common.database import Database
from algodock_common.identifiers import uuid7
from algodock_gateway.domain.keys import fingerprint
from algodock_gateway.handlers.callback_secrets import CallbackSecrets
from algodock_gateway.handlers.credentials import SecretBox
from tests.integration.gateway.running import Gateway

TASK = "01a22109-5c1e-7000-8000-000000000000"
pytestmark = [pytest.mark.asyncio(loop_scope="module"), pytest.mark.timeout(300)]

LEFT = "SELECT extract(epoch FROM valid_until - now()) FROM retired_callback_secrets"
ROTATE = "/api/v1/keys/callback-secret/rotate"


@pytest_asyncio.fixture(loop_scope="module")
async def key_id(gateway: Gateway) -> AsyncIterator[UUID]:
    """The first key, with its first secret only."""
    row = await gateway.database.fetchrow("SELECT id FROM api_keys WHERE name = 'admin'")
    assert row is not None
    yield row["id"]
    await gateway.api.post(ROTATE, json={"grace_s": 0})


async def signing(gateway: Gateway, key_id: UUID) -> list[str]:
    secrets: list[str] = (await gateway.inside.get(f"/internal/keys/{key_id}/callback-secret")).json()["secrets"]
    return secrets


def kept(gateway: Gateway) -> dict[str, str]:
    file = gateway.settings.platform.data_dir / "credentials.json"
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    document: dict[str, str] = json.loads(file.read_text())
    return document


async def test_for_a_while_the_new_and_the_old_one_are_valid(gateway: Gateway, key_id: UUID) -> None:
    old = kept(gateway)["callback_secret"]
    answer = await gateway.api.post(ROTATE)
    assert (answer.status_code, answer.headers["cache-control"]) == (200, "no-store")
    new = answer.json()["callback_secret"]
    assert new.startswith("whsec_")
    assert await signing(gateway, key_id) == [new, old]
    assert kept(gateway) == gateway.credentials | {"callback_secret": new}
    current, replaced = answer.json()["valid"]
    assert current["valid_until"] is None
    left = await gateway.database.fetchval(LEFT)
    assert 86_000 < left <= 86_400
    shown = await gateway.api.get("/api/v1/keys/callback-secret")
    assert shown.json()["valid"] == [current, replaced]
    assert new not in shown.text
    assert old not in shown.text

    await gateway.database.execute("UPDATE retired_callback_secrets SET valid_until = now()")
    assert await signing(gateway, key_id) == [new]
    stored = await gateway.database.fetch("SELECT secret FROM retired_callback_secrets")
    assert all(old.encode() not in row["secret"] for row in stored)


async def test_a_lost_answer_is_asked_for_again_and_only_so_often(gateway: Gateway, key_id: UUID) -> None:
    first = kept(gateway)["callback_secret"]
    second, third = [(await gateway.api.post(ROTATE)).json()["callback_secret"] for _ in range(2)]
    assert await signing(gateway, key_id) == [third, second, first]
    refused = await gateway.api.post(ROTATE)
    assert refused.status_code == 409
    assert "grace of 0" in refused.json()["detail"]
    assert await signing(gateway, key_id) == [third, second, first]


async def test_a_secret_that_became_known_ends_at_once(gateway: Gateway, key_id: UUID) -> None:
    await gateway.api.post(ROTATE)
    new = (await gateway.api.post(ROTATE, json={"grace_s": 0})).json()["callback_secret"]
    assert await signing(gateway, key_id) == [new]
    assert kept(gateway)["callback_secret"] == new


@pytest.mark.parametrize("body", [{"grace_s": -1}, {"grace_s": 604_801}, {"grace_s": "x"}, {"grace": 5}])
async def test_a_wrong_grace_is_422(gateway: Gateway, key_id: UUID, body: dict[str, Any]) -> None:
    before = await signing(gateway, key_id)
    assert (await gateway.api.post(ROTATE, json=body)).status_code == 422
    assert await signing(gateway, key_id) == before


async def test_another_keys_rotation_leaves_the_first_keys_file_alone(gateway: Gateway, key_id: UUID) -> None:
    before, other = kept(gateway), uuid7()
    await gateway.database.execute(
        "INSERT INTO api_keys (id, digest, name, roles, callback_secret)"
        " SELECT $1, $2, 'other', '{user}', callback_secret FROM api_keys WHERE id = $3",
        other,
        fingerprint(b"ak_other"),
        key_id,
    )
    headers = {"authorization": "Bearer ak_other"}
    refused = await gateway.open.post(ROTATE, headers=headers)
    assert refused.status_code == 500  # its secret was sealed for another row: it cannot be read, nor replaced unread
    answer = await gateway.open.post(ROTATE, headers=headers, json={"grace_s": 0})
    assert answer.status_code == 200
    assert await signing(gateway, other) == [answer.json()["callback_secret"]]
    assert kept(gateway) == before


async def test_a_file_that_a_crash_left_behind_is_healed_at_the_start(tmp_path: Path, gateway: Gateway) -> None:
    database = Database(gateway.settings.database, schema="gateway", source="/gateway")
    box = SecretBox(gateway.settings.secrets.derive("callback-secrets"))
    file = tmp_path / "credentials.json"
    secrets = CallbackSecrets(database, box, file=file, grace_s=60)
    await secrets.heal_file()  # there is none: nothing happens
    file.write_text(json.dumps(gateway.credentials | {"callback_secret": "whsec_old"}))
    await secrets.heal_file()
    assert json.loads(file.read_text()) == kept(gateway)
    file.write_text(json.dumps({"api_key": "ak_nobodys", "callback_secret": "whsec_x"}))
    await secrets.heal_file()
    assert json.loads(file.read_text())["callback_secret"] == "whsec_x"
    file.write_text(json.dumps(gateway.credentials | {"callback_secret": "whsec_old"}))
    await CallbackSecrets(database, SecretBox(b"j" * 32), file=file, grace_s=60).heal_file()  # SECRET_KEY was changed
    assert json.loads(file.read_text())["callback_secret"] == "whsec_old"
    await database.stop()


@pytest.mark.parametrize(
    ("method", "path", "options"),
    [
        ("GET", f"tasks/{TASK}/callback", {}),
        ("POST", f"tasks/{TASK}/callback/redeliver", {}),
        ("GET", "callbacks", {"params": {"state": "failed", "limit": "7", "since": "2026-01-01T00:00:00+02:00"}}),
        ("POST", "callbacks/redeliver", {"json": {"state": "failed", "url": "http://a/b"}}),
        ("GET", "callbacks/disabled", {}),
        ("POST", "callbacks/enable", {"json": {"url": "http://a/b"}}),
    ],
)
async def test_callbacks_are_asked_of_the_runner(
    gateway: Gateway, method: str, path: str, options: dict[str, Any]
) -> None:
    got = (await gateway.api.request(method, f"/api/v1/{path}", **options)).json()
    assert (got["path"], got["name"], got["body"]) == (path, "admin", options.get("json"))
    assert got["query"].items() >= options.get("params", {}).items()
    assert (await gateway.open.request(method, f"/api/v1/{path}", **options)).status_code == 401
