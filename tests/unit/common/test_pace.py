"""Fetches are eager while messages come and at ease when none do."""

from __future__ import annotations

import time
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any, cast

from algodock_common.messaging.pace import EAGER_S, Pace

if TYPE_CHECKING:
    import pytest


def consumer() -> Any:
    return cast("Any", SimpleNamespace(_fetcher=SimpleNamespace(_fetch_max_wait_ms=100)))


def test_a_message_makes_fetches_eager_and_silence_lets_them_rest(monkeypatch: pytest.MonkeyPatch) -> None:
    now = 1000.0
    monkeypatch.setattr(time, "monotonic", lambda: now)
    pace, fetching = Pace(eager_ms=10, idle_ms=100), consumer()
    assert pace.wait_ms == 100
    pace.seen(fetching)
    assert fetching._fetcher._fetch_max_wait_ms == 10
    now += EAGER_S - 1
    pace.look(fetching)
    assert fetching._fetcher._fetch_max_wait_ms == 10
    now += 2
    pace.look(fetching)
    assert fetching._fetcher._fetch_max_wait_ms == 100


def test_a_consumer_that_is_not_there_yet_is_left_alone() -> None:
    Pace(10, 100).seen(None)
