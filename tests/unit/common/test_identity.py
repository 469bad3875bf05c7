"""The signed identity header."""

from __future__ import annotations

import base64
import json

import pytest

from algodock_common.errors import AlgoDockError, Unauthorized
from algodock_common.web import Identity, new_identity_keys, sign_identity, verify_identity
from algodock_common.web.identity import LIFETIME_S

ADA = Identity("k1", "Ada Lovelace – 愛", ("admin", "user"))


@pytest.fixture(scope="module")
def keys() -> tuple[str, str]:
    return new_identity_keys()


def test_what_was_signed_is_what_is_read(keys: tuple[str, str]) -> None:
    private, public = keys

    header = sign_identity(ADA, private)

    assert header.isascii()
    assert verify_identity(header, public) == ADA


def test_it_expires(keys: tuple[str, str]) -> None:
    private, public = keys
    header = sign_identity(ADA, private, now=1_000)

    assert verify_identity(header, public, now=1_000 + LIFETIME_S - 1) == ADA
    with pytest.raises(Unauthorized):
        verify_identity(header, public, now=1_000 + LIFETIME_S)


def test_nobody_else_can_make_one(keys: tuple[str, str]) -> None:
    other, _ = new_identity_keys()

    with pytest.raises(Unauthorized):
        verify_identity(sign_identity(ADA, other), keys[1])


def test_changed_claims_are_refused(keys: tuple[str, str]) -> None:
    private, public = keys
    payload, signature = sign_identity(Identity("k1", "Ada", ("user",)), private).split(".")
    claims = json.loads(base64.urlsafe_b64decode(payload + "=="))
    claims["roles"] = ["admin"]
    forged = base64.urlsafe_b64encode(json.dumps(claims).encode()).rstrip(b"=").decode()

    with pytest.raises(Unauthorized):
        verify_identity(f"{forged}.{signature}", public)


@pytest.mark.parametrize("header", ["", ".", "a.b.c", "äö.ü", "e30.AAAA", "!!!!.!!!!"])
def test_nonsense_is_refused(keys: tuple[str, str], header: str) -> None:
    with pytest.raises(Unauthorized):
        verify_identity(header, keys[1])


@pytest.mark.parametrize("key", ["", "nonsense", base64.b64encode(b"short").decode()])
def test_a_key_that_is_none_says_so(key: str) -> None:
    with pytest.raises(AlgoDockError, match="not a raw Ed25519 key"):
        sign_identity(ADA, key)
