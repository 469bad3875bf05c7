"""The demo's receiver of callbacks believes nobody without a good signature."""

from __future__ import annotations

import base64
import json
import os
from datetime import UTC, datetime

import httpx
import pytest
from standardwebhooks.webhooks import Webhook

from algodock_cli.client.errors import NotInTime
from algodock_cli.demo.callbacks import Callbacks

SECRET = "whsec_" + base64.b64encode(os.urandom(24)).decode()


def post(callbacks: Callbacks, secret: str, key: str, message_id: str) -> int:
    body = json.dumps({"type": "task.finished", "data": {"id": "t1", "idempotency_key": key, "state": "succeeded"}})
    now = datetime.now(UTC)
    headers = {
        "Webhook-Id": message_id,
        "Webhook-Timestamp": str(int(now.timestamp())),
        "Webhook-Signature": Webhook(secret).sign(message_id, now, body),
    }
    return httpx.post(callbacks.url, content=body, headers=headers).status_code


def test_a_signed_callback_is_kept_once_however_often_it_comes() -> None:
    with Callbacks(SECRET) as callbacks:
        assert [post(callbacks, SECRET, "k1", "m1") for _ in range(2)] == [204, 204]
        assert callbacks.wait("k1", 1)["id"] == "t1"
        assert callbacks.count == 1


def test_a_wrong_signature_is_refused_and_does_not_count() -> None:
    with Callbacks(SECRET) as callbacks:
        assert post(callbacks, "whsec_" + base64.b64encode(b"x" * 24).decode(), "k1", "m1") == 401
        assert httpx.post(callbacks.url, content=b"{}").status_code == 401
        assert httpx.post(callbacks.url).status_code == 401
        with pytest.raises(NotInTime, match="2 came with a bad signature"):
            callbacks.wait("k1", 0.05)
        assert callbacks.count == 0
