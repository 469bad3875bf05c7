"""The tokens of instances."""

from __future__ import annotations

import base64
from uuid import uuid4

import pytest

from algodock_registry.domain import InstanceTokens, WrongInstanceToken

TOKENS = InstanceTokens(b"k" * 32)


def test_a_token_names_its_own_instance_and_is_the_same_each_time() -> None:
    one = uuid4()
    assert TOKENS.instance_of(TOKENS.issue(one)) == one
    assert TOKENS.issue(one) == TOKENS.issue(one)


def _for_another(token: str) -> str:
    raw = base64.urlsafe_b64decode(token.removeprefix("adi_"))
    return "adi_" + base64.urlsafe_b64encode(uuid4().bytes + raw[16:]).decode()


@pytest.mark.parametrize(
    "forge",
    [
        lambda _: "",
        lambda _: "adi_",
        lambda _: "adi_!!!",
        lambda _: "ключ",
        lambda token: token.removeprefix("adi_"),
        lambda token: token[:-6],
        lambda token: token + "AAAA",
        lambda token: InstanceTokens(b"x" * 32).issue(TOKENS.instance_of(token)),
        _for_another,
    ],
)
def test_what_was_not_issued_here_is_refused(forge: object) -> None:
    assert callable(forge)
    with pytest.raises(WrongInstanceToken):
        TOKENS.instance_of(forge(TOKENS.issue(uuid4())))
