"""Reading and verifying webhooks without a service around them."""

from __future__ import annotations

import json

import pytest

from algodock_common.errors import BadRequest, Forbidden, NotFound
from algodock_common.identifiers import uuid7
from algodock_common.settings import SecretSettings
from algodock_common.vault import Vault, VaultLocked
from algodock_gitea_sync.clients.backend import GitCall
from algodock_gitea_sync.domain.webhook import Delivery, is_signed, sign
from algodock_gitea_sync.handlers.git import checked_call

SECRET = b"of the repository"
BODY = json.dumps({"ref": "refs/heads/main", "after": "1" * 40, "repository": {"full_name": "a/b"}}).encode()


def delivery(body: bytes = BODY, **headers: str) -> Delivery | None:
    given = {"x-gitea-event": "push"} | {name.replace("_", "-"): value for name, value in headers.items()}
    return Delivery.parse(given, body)


def test_the_published_example_of_hmac_sha256_is_ours_too() -> None:
    """RFC 4231, test case 2."""
    told = "5bdcc146bf60754e6a042426089575c75a003f089d2739839dec58b964ec3843"
    assert sign(b"what do ya want for nothing?", b"Jefe") == told


def test_only_the_secrets_own_signature_is_taken() -> None:
    good = sign(BODY, SECRET)
    assert is_signed(delivery(x_gitea_signature=good), BODY, SECRET)
    assert is_signed(delivery(x_hub_signature_256=f"sha256={good}"), BODY, SECRET)
    assert not is_signed(delivery(x_gitea_signature=good), BODY + b" ", SECRET)
    assert not is_signed(delivery(x_gitea_signature=good.upper()), BODY, SECRET)
    assert not is_signed(delivery(x_gitea_signature=good, x_hub_signature_256="sha256=0"), BODY, SECRET)
    assert not is_signed(delivery(), BODY, SECRET)
    assert not is_signed(None, BODY, SECRET)


@pytest.mark.parametrize("secret", [b"", None])
def test_no_secret_takes_nothing_not_even_what_it_would_sign(secret: bytes | None) -> None:
    for key in (b"", b"\0" * 32):
        assert not is_signed(delivery(x_gitea_signature=sign(BODY, key)), BODY, secret)


@pytest.mark.parametrize("body", [b"", b"no json", b"[]", b"null", b"\xff", b"[" * 100_000])
def test_what_is_no_json_object_is_no_delivery(body: bytes) -> None:
    assert delivery(body) is None


@pytest.mark.parametrize(
    "document",
    [{}, {"repository": 1}, {"repository": {"full_name": ["x"]}}, {"ref": {"a": 1}}, {"pusher": "x", "after": None}],
)
def test_fields_of_the_wrong_type_are_empty(document: dict[str, object]) -> None:
    found = delivery(json.dumps(document).encode())
    assert found is not None
    assert (found.full_name, found.ref, found.after, found.pusher) == ("", "", "", "")


def test_fields_are_bounded_and_without_nul() -> None:
    found = delivery(json.dumps({"ref": "x\0" * 1000}).encode())
    assert found is not None
    assert len(found.ref) <= 255
    assert "\0" not in found.ref


def call(**changed: object) -> GitCall:
    base: dict[str, object] = {
        "full_name": "algodock/echo",
        "path": "git-receive-pack",
        "service": "",
        "method": "POST",
        "user": "ada",
        "content_type": "application/x-git-receive-pack-request",
    }
    return GitCall(**(base | changed))  # type: ignore[arg-type]  # each case knows its fields


def test_a_call_of_smart_http_is_taken() -> None:
    assert checked_call(call()).writes
    assert not checked_call(call(method="GET", path="info/refs", service="git-receive-pack")).writes


@pytest.mark.parametrize(
    ("changed", "error"),
    [
        ({"content_type": "text/plain"}, BadRequest),
        ({"content_encoding": "br"}, BadRequest),
        ({"method": "GET"}, NotFound),
        ({"path": "../../etc/passwd"}, NotFound),
        ({"path": "git-upload-archive"}, NotFound),
        ({"method": "GET", "path": "info/refs", "service": "git-upload-archive"}, Forbidden),
        ({"method": "GET", "path": "info/refs", "service": ""}, Forbidden),
    ],
)
def test_every_other_call_is_refused(changed: dict[str, object], error: type[Exception]) -> None:
    with pytest.raises(error):
        checked_call(call(**changed))


def test_a_secret_opens_for_its_own_row_and_key_only() -> None:
    vault, row = Vault(SecretSettings(secret_key="a" * 40), "gitea-sync/secrets"), uuid7()
    sealed = vault.seal("secret", row)
    assert b"secret" not in sealed
    assert sealed != vault.seal("secret", row)
    assert vault.open(sealed, row) == "secret"
    for other, other_row, text in (
        (Vault(SecretSettings(secret_key="b" * 40), "gitea-sync/secrets"), row, sealed),
        (vault, uuid7(), sealed),
        (vault, row, sealed[:-1]),
        (vault, row, b""),
    ):
        with pytest.raises(VaultLocked):
            other.open(text, other_row)
