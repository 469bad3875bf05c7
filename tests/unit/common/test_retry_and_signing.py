"""What is retried and for how long, and what a signature covers."""

from __future__ import annotations

import errno

import pytest
from sqlalchemy.exc import IntegrityError

from algodock_common.errors import InvalidInput, Unavailable
from algodock_common.messaging import RetryPolicy, Signer, is_retryable


@pytest.mark.parametrize(
    ("error", "retryable"),
    [
        (Unavailable("away"), True),
        (InvalidInput("no"), False),
        (ConnectionResetError(), True),
        (OSError(errno.ENOSPC, "full"), True),
        (FileNotFoundError(errno.ENOENT, "gone", "/x"), False),
        (IntegrityError("INSERT", {}, Exception()), False),
        (ValueError("a bug"), False),
    ],
)
def test_only_what_may_pass_is_retried(error: Exception, *, retryable: bool) -> None:
    assert is_retryable(error) is retryable


def test_waits_grow_and_are_bounded() -> None:
    policy = RetryPolicy(first_wait_s=0.1, longest_wait_s=2)
    assert 0.05 <= policy.wait_s(1) <= 0.1
    assert 0.1 <= policy.wait_s(2) <= 0.2
    assert 1 <= policy.wait_s(1_000_000) <= 2


def test_a_signature_covers_topic_and_value_and_needs_the_key() -> None:
    signer = Signer(b"k" * 32)
    signature = signer.sign("a", b"value")
    assert signer.valid("a", b"value", signature)
    assert not signer.valid("b", b"value", signature)
    assert not signer.valid("a", b"valu", signature)
    assert not signer.valid("a", b"value", None)
    assert not signer.valid("a", b"value", "")
    assert not Signer(b"j" * 32).valid("a", b"value", signature)
