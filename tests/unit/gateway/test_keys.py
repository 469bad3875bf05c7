"""API keys: how they look, how they are found, and what is never kept of them."""

from __future__ import annotations

import base64
from collections.abc import Mapping

import pytest
from cryptography.exceptions import InvalidTag

from algodock_common.identifiers import uuid7
from algodock_gateway.domain.keys import (
    ApiKey,
    basic_password,
    bearer,
    fingerprint,
    new_api_key,
    new_callback_secret,
)
from algodock_gateway.handlers.credentials import SecretBox
from algodock_gateway.handlers.key_ring import KeyRing


class Store:
    """Keys in a dict; ``asked`` counts the single look-ups."""

    def __init__(self) -> None:
        self.keys: dict[bytes, ApiKey] = {}
        self.asked = 0

    async def all_keys(self) -> Mapping[bytes, ApiKey]:
        return dict(self.keys)

    async def key_of(self, digest: bytes) -> ApiKey | None:
        self.asked += 1
        return self.keys.get(digest)


def test_a_key_is_url_safe_and_a_secret_is_as_standard_webhooks_writes_it() -> None:
    key, secret = new_api_key(), new_callback_secret()
    assert key.startswith("ak_")
    assert key.replace("-", "").replace("_", "").isalnum()
    assert len(base64.b64decode(secret.removeprefix("whsec_"), validate=True)) == 32
    assert new_api_key() != key


@pytest.mark.parametrize(
    ("header", "token"),
    [
        (b"Bearer abc", b"abc"),
        (b"bearer abc ", b"abc"),
        (b"Bearer ", None),
        (b"Bearerabc", None),
        (b"Basic abc", None),
        (None, None),
    ],
)
def test_only_a_bearer_header_carries_a_token(header: bytes | None, token: bytes | None) -> None:
    assert bearer(header) == token


@pytest.mark.parametrize(
    ("header", "password"),
    [
        (b"Basic " + base64.b64encode(b"git:secret:x"), b"secret:x"),
        (b"basic " + base64.b64encode(b":secret"), b"secret"),
        (b"Basic " + base64.b64encode(b"secret"), None),
        (b"Basic " + base64.b64encode(b"user:"), None),
        (b"Basic ???", None),
        (b"Bearer abc", None),
        (None, None),
    ],
)
def test_the_password_of_a_basic_header_is_the_key(header: bytes | None, password: bytes | None) -> None:
    assert basic_password(header) == password


async def test_a_new_key_is_asked_for_once_and_a_wrong_one_once_a_second() -> None:
    store = Store()
    ring = KeyRing(store)
    key = ApiKey(uuid7(), "x", ())
    store.keys[fingerprint(b"right")] = key
    assert [await ring.find(b"right") for _ in range(3)] == [key] * 3
    assert store.asked == 1
    assert [await ring.find(b"wrong") for _ in range(50)] == [None] * 50
    assert store.asked == 2
    assert await ring.find(None) is None


def test_a_sealed_secret_opens_only_with_the_key_and_the_row_it_was_made_for() -> None:
    box, row = SecretBox(b"k" * 32), uuid7()
    sealed = box.seal("whsec_x", row=row)
    assert b"whsec" not in sealed
    assert box.open(sealed, row=row) == "whsec_x"
    with pytest.raises(InvalidTag):
        box.open(sealed, row=uuid7())
    with pytest.raises(InvalidTag):
        SecretBox(b"j" * 32).open(sealed, row=row)
