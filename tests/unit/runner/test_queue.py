"""When a waiting task begins, about."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest

from algodock_runner.domain.queue import Queue, estimated_start

NOW = datetime(2026, 1, 1, tzinfo=UTC)


@pytest.mark.parametrize(
    ("position", "running", "running_s", "recent_s", "wait_s"),
    [
        (1, 1, 0.5, 10.0, 10.0),
        (8, 4, 0.5, 10.0, 20.0),
        (2, 1, 60.0, 10.0, 120.0),  # those that run take longer than the last ones did
        (2, 1, 3.0, None, 6.0),
        (1, 0, None, 10.0, None),
        (1, 1, 0.0, None, None),
        (1, 1, None, None, None),
    ],
)
def test_a_task_begins_when_those_before_it_have_ended(
    position: int, running: int, running_s: float | None, recent_s: float | None, wait_s: float | None
) -> None:
    start = estimated_start(Queue(position, running, running_s, recent_s, NOW))
    assert start == (None if wait_s is None else NOW + timedelta(seconds=wait_s))
