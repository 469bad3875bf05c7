"""The timeline of every history a task can have."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID, uuid4

import pytest

from algodock_runner.domain.timeline import History, Spent, Transition, Worked, first_attempt_after, transitions

START = datetime(2026, 1, 1, tzinfo=UTC)
RELEASE = uuid4()


def at(seconds: float) -> datetime:
    return START + timedelta(seconds=seconds)


def worked(number: int) -> Worked:
    return Worked(f"w-{number}", UUID(int=number), RELEASE, "c" * 40, 10 + number)


def spent(attempt: int, outcome: str, begin: float, end: float) -> Spent:
    error = {"type": "E", "message": f"of attempt {attempt}"}
    return Spent(attempt, outcome, at(begin), at(end), worked(attempt), error)


def history(**changed: Any) -> History:
    base = History(UUID(int=9), "queued", "echo", 0, created_at=START, queued_at=START)
    return replace(base, **changed)


def short(found: list[Transition]) -> list[tuple[int, str, float, int]]:
    return [(one.index, one.state, (one.at - START).total_seconds(), one.attempt) for one in found]


def test_a_task_that_is_due_at_once() -> None:
    assert short(transitions(history())) == [(0, "accepted", 0, 0), (1, "queued", 0, 0)]


def test_a_task_that_begins_later_is_queued_when_it_was_woken() -> None:
    waiting = history(state="accepted", queued_at=None, not_before=at(60), wakes_at=at(60))
    assert short(transitions(waiting)) == [(0, "accepted", 0, 0)]
    woken = history(queued_at=at(60.4), not_before=at(60))
    assert short(transitions(woken))[1:] == [(1, "queued", 60.4, 0)]


def test_a_task_that_succeeds_at_once_says_who_served_it() -> None:
    done = history(state="succeeded", attempt=1, claimed_at=at(1), finished_at=at(3), worked=worked(1))
    found = transitions(done)
    assert short(found)[2:] == [(2, "running", 1, 1), (3, "succeeded", 3, 1)]
    for one in found[2:]:
        assert (one.worker_id, one.instance_id, one.release_id) == ("w-1", UUID(int=1), RELEASE)
        assert (one.commit, one.config_version) == ("c" * 40, 11)


def test_retries_a_lost_lease_and_a_task_handed_back_are_told_with_their_reasons() -> None:
    found = transitions(
        history(
            state="failed",
            attempt=4,
            not_before=at(0.5),
            queued_at=at(9),
            claimed_at=at(10),
            finished_at=at(12),
            worked=worked(4),
            error={"type": "Last", "message": "no more"},
            spent=[spent(1, "failed", 1, 2), spent(2, "lost", 3, 5), spent(3, "handed back", 6, 7)],
        )
    )
    assert short(found) == [
        (0, "accepted", 0, 0),
        (1, "queued", 0.5, 0),
        (2, "running", 1, 1),
        (3, "queued", 2, 1),
        (4, "running", 3, 2),
        (5, "queued", 5, 2),
        (6, "running", 6, 3),
        (7, "queued", 7, 3),
        (8, "running", 10, 4),
        (9, "failed", 12, 4),
    ]
    assert [one.reason for one in found] == [None, None, None, "failed", None, "lost", None, "handed back", None, None]
    errors = [one.error.message for one in found if one.error]
    assert errors == ["of attempt 1", "of attempt 2", "of attempt 3", "no more"]
    assert [one.config_version for one in found if one.state == "running"] == [11, 12, 13, 14]


def test_a_task_between_two_attempts_says_when_it_goes_on() -> None:
    found = transitions(history(attempt=1, claimed_at=at(1), wakes_at=at(8), spent=[spent(1, "failed", 1, 2)]))
    assert short(found)[-1] == (3, "queued", 2, 1)
    assert found[-1].resumes_at == at(8)
    assert all(one.resumes_at is None for one in found[:-1])


@pytest.mark.parametrize("state", ["cancelled", "expired"])
def test_what_ends_while_it_waits_never_ran(state: str) -> None:
    never = history(state=state, queued_at=None, finished_at=at(5))
    assert short(transitions(never)) == [(0, "accepted", 0, 0), (2, state, 5, 0)]
    queued = history(state=state, finished_at=at(5))
    assert short(transitions(queued)) == [(0, "accepted", 0, 0), (1, "queued", 0, 0), (2, state, 5, 0)]
    between = history(state=state, attempt=1, claimed_at=at(1), finished_at=at(5), spent=[spent(1, "failed", 1, 2)])
    assert short(transitions(between))[2:] == [(2, "running", 1, 1), (3, "queued", 2, 1), (4, state, 5, 1)]
    assert transitions(between)[-1].worker_id is None, "nobody worked on its end"


def test_a_task_cancelled_while_it_ran() -> None:
    found = transitions(history(state="cancelled", attempt=1, claimed_at=at(1), finished_at=at(2), worked=worked(1)))
    assert short(found)[2:] == [(2, "running", 1, 1), (3, "cancelled", 2, 1)]


STAGES = [
    history(),
    history(state="running", attempt=1, claimed_at=at(1)),
    history(attempt=1, claimed_at=at(1), queued_at=at(2), wakes_at=at(3), spent=[spent(1, "failed", 1, 2)]),
    history(attempt=1, claimed_at=at(1), queued_at=at(3), spent=[spent(1, "failed", 1, 2)]),
    history(state="running", attempt=2, claimed_at=at(4), queued_at=at(3), spent=[spent(1, "failed", 1, 2)]),
    history(
        state="succeeded",
        attempt=2,
        claimed_at=at(4),
        queued_at=at(3),
        finished_at=at(5),
        spent=[spent(1, "failed", 1, 2)],
    ),
]


def test_a_step_keeps_its_number_and_its_time_however_much_later_it_is_looked_at() -> None:
    seen: dict[int, tuple[str, datetime, int]] = {}
    for stage in STAGES:
        for one in transitions(stage):
            assert seen.setdefault(one.index, (one.state, one.at, one.attempt)) == (one.state, one.at, one.attempt)
    assert sorted(seen) == [0, 1, 2, 3, 4, 5]


@pytest.mark.parametrize("stop", range(-1, 7))
def test_who_resumes_behind_a_step_gets_exactly_the_rest(stop: int) -> None:
    whole = STAGES[-1]
    known = [one for one in whole.spent if one.attempt >= first_attempt_after(stop)]
    rest = transitions(replace(whole, spent=known), after=stop)
    assert short(rest) == [one for one in short(transitions(whole)) if one[0] > stop]


def test_of_very_many_attempts_the_end_is_told_last() -> None:
    part = history(
        state="succeeded",
        attempt=9,
        claimed_at=at(90),
        finished_at=at(91),
        spent=[spent(number, "not started", number, number + 0.5) for number in (1, 2)],
        more=True,
    )
    assert [one.index for one in transitions(part)] == [0, 1, 2, 3, 4, 5]
