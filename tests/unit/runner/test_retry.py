"""What a failed attempt leads to, by the kind of failure."""

from __future__ import annotations

import pytest

from algodock_runner.domain.retry import (
    CONNECTION_LOST,
    Again,
    Ended,
    Failure,
    Kind,
    after_failure,
    backoff_s,
    failure_of_status,
    replaced,
    task_error,
)
from algodock_runner.domain.states import TRANSITIONS, states_before

ERROR = task_error("Broken", "it broke")


@pytest.mark.parametrize("status", [408, 425, 429, 502, 503, 504])
def test_what_may_pass_is_tried_again(status: int) -> None:
    assert failure_of_status(status, ERROR).kind is Kind.TRANSIENT


@pytest.mark.parametrize("status", [301, 400, 401, 404, 409, 413, 422, 500, 501])
def test_what_would_fail_again_is_not(status: int) -> None:
    assert failure_of_status(status, ERROR).kind is Kind.PERMANENT


def test_attempts_are_spent_up_to_the_limit() -> None:
    failure = Failure(Kind.TRANSIENT, ERROR)
    first = after_failure(failure, failures=0, max_attempts=2)
    assert isinstance(first, Again)
    assert first.spent
    assert after_failure(failure, failures=1, max_attempts=2) == Ended("failed", ERROR)
    assert after_failure(failure, failures=0, max_attempts=1) == Ended("failed", ERROR)


def test_what_never_started_spends_nothing() -> None:
    again = after_failure(Failure(Kind.NOT_STARTED, ERROR), failures=2, max_attempts=3)
    assert isinstance(again, Again)
    assert not again.spent


def test_a_connection_that_broke_with_its_instances_end_spends_nothing() -> None:
    lost = Failure(Kind.TRANSIENT, task_error(CONNECTION_LOST, "it broke"))
    assert replaced(lost).kind is Kind.NOT_STARTED
    cut_off = failure_of_status(500, task_error("HTTP 500", "Internal Server Error", 500))
    assert replaced(cut_off).kind is Kind.NOT_STARTED
    for other in (Failure(Kind.TRANSIENT, ERROR), Failure(Kind.PERMANENT, ERROR)):
        assert replaced(other) is other


def test_the_algorithms_wish_to_wait_counts_within_an_hour() -> None:
    def wait_s(asked: float) -> float:
        again = after_failure(Failure(Kind.TRANSIENT, ERROR, asked), failures=0, max_attempts=3)
        assert isinstance(again, Again)
        return again.wait_s

    assert wait_s(120) == 120
    assert wait_s(10**6) == 3600
    assert 0.5 <= wait_s(0) <= 1


def test_the_backoff_doubles_with_jitter_and_is_bounded() -> None:
    for failures, ceiling in [(1, 1), (2, 2), (5, 16), (7, 60), (10**6, 60)]:
        assert ceiling / 2 <= backoff_s(failures) <= ceiling


def test_an_error_can_be_stored_whatever_an_algorithm_said() -> None:
    error = task_error("a\0b", "\ud800" + "x" * 9000)
    assert error.type == "a\ufffdb"
    assert len(error.message) == 4000
    assert "\\ud800" not in error.model_dump_json()


def test_nothing_follows_an_end() -> None:
    ends = {state for state, after in TRANSITIONS.items() if not after}
    assert ends == {"succeeded", "failed", "cancelled", "expired"}
    assert states_before("running") == ["queued"]
    assert states_before("expired") == ["accepted", "queued", "running"]
