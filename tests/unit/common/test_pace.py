"""Fetches are eager while messages come and at ease when none do."""

from __future__ import annotations

import time
from types import SimpleNamespace

import pytest

from algodock_common.messaging.pace import EAGER_S, Pace


def test_a_message_makes_all_fetches_eager_and_silence_lets_them_rest(monkeypatch: pytest.MonkeyPatch) -> None:
    now = 1000.0
    monkeypatch.setattr(time, "monotonic", lambda: now)
    fetchers = [SimpleNamespace(_fetch_max_wait_ms=0) for _ in range(2)]
    pace = Pace()
    for fetcher, eager_ms, idle_ms in zip(fetchers, (10, 100), (100, 250), strict=True):
        pace.add(SimpleNamespace(consumer=SimpleNamespace(_fetcher=fetcher)), eager_ms=eager_ms, idle_ms=idle_ms)
    pace.seen()
    assert [fetcher._fetch_max_wait_ms for fetcher in fetchers] == [10, 100]
    now += EAGER_S - 1
    pace.look()
    assert [fetcher._fetch_max_wait_ms for fetcher in fetchers] == [10, 100]
    now += 2
    pace.look()
    assert [fetcher._fetch_max_wait_ms for fetcher in fetchers] == [100, 250]


def test_a_consumer_that_is_not_there_yet_is_left_alone() -> None:
    pace = Pace()
    pace.add(SimpleNamespace(consumer=None), eager_ms=10, idle_ms=100)
    pace.seen()
    pace.look()
