"""What a ``Prefer`` header says (RFC 7240), and what is left unheard."""

from __future__ import annotations

import time

import pytest

from algodock_gateway.routes.prefer import Preferences, preferences


@pytest.mark.parametrize(
    ("said", "meant"),
    [
        ("respond-async", Preferences(respond_async=True, wait_s=None)),
        ("Respond-Async , WAIT = 10", Preferences(respond_async=True, wait_s=10)),
        ('wait="5"; x=y, respond-async;', Preferences(respond_async=True, wait_s=5)),
        ('respond-async=""', Preferences(respond_async=True, wait_s=None)),
        ("wait=0", Preferences(respond_async=False, wait_s=0)),
        ("wait=99999999999999999999", Preferences(respond_async=False, wait_s=60)),
        ("wait=1, wait=2", Preferences(respond_async=False, wait_s=1)),
        (' , ,respond-async, "', Preferences(respond_async=True, wait_s=None)),
        ('handling=lenient;x="a;b,wait=9",wait=3', Preferences(respond_async=False, wait_s=3)),
        ("return=minimal", None),
        ("wait=abc", None),
        ("wait=-1", None),
        ("wait=1.5", None),
        ("wait", None),
        ("respond-async=no", None),
        ('foo="a, respond-async"', None),
        ("", None),
        ('"', None),
        ("wait=\u00b2", None),
    ],
)
def test_a_preference_is_heard_or_left_alone(said: str, meant: Preferences | None) -> None:
    assert preferences([(b"host", b"x"), (b"prefer", said.encode("latin-1"))]) == meant


def test_several_headers_are_one_list() -> None:
    headers = [(b"prefer", b"wait=3"), (b"prefer", b"respond-async"), (b"prefer", b"wait=4")]
    assert preferences(headers) == Preferences(respond_async=True, wait_s=3)


@pytest.mark.parametrize("said", [b'"\\"' * 20_000, b'a="' * 20_000, b"," * 60_000, b"wait=" + b"1" * 60_000])
def test_a_hostile_header_costs_nothing(said: bytes) -> None:
    began = time.process_time()
    preferences([(b"prefer", said)])
    assert time.process_time() - began < 0.5


def test_what_was_done_is_said() -> None:
    assert Preferences(respond_async=True, wait_s=3).applied() == b"respond-async, wait=3"
    assert Preferences(respond_async=False, wait_s=0).applied() == b"wait=0"
