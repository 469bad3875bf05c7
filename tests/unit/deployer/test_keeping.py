"""When an ended program may run again, and who lives without serving."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from uuid import UUID

import pytest

from algodock_deployer.domain.keeping import CRASH_LOOP, after_look, delay_after
from algodock_deployer.domain.releases import Instance, assess
from algodock_deployer.handlers.vitals import Vitals

NOW = datetime(2026, 1, 1, tzinfo=UTC)
ONE = Instance(
    id=UUID(int=1), service_id=UUID(int=2), release_id=UUID(int=3), algorithm="a", index=1, node_id="n",
    host="127.0.0.1", port=8100, base_url="http://127.0.0.1:8100", program="ai-a-1-x", phase="serving",
    seen="RUNNING", pid=10, up_since=NOW,
)  # fmt: skip


def later(seconds: float) -> datetime:
    return NOW + timedelta(seconds=seconds)


def test_the_first_exit_costs_nothing() -> None:
    after, act = after_look(ONE, "RUNNING", 11, later(5), ended="it exited with code 3")
    assert (after.pid, after.exits, after.hold, act) == (11, 1, "", "")
    assert after.why == "it exited with code 3"


def test_a_process_that_ended_before_it_was_ever_looked_at_is_told_of() -> None:
    after, act = after_look(replace(ONE, pid=0), "RUNNING", 11, NOW, ailment="its memory reached the limit")
    assert (after.pid, after.exits, after.why, act) == (11, 1, "its memory reached the limit", "")


@pytest.mark.parametrize(("state", "pid", "act"), [("STARTING", 11, ""), ("BACKOFF", 0, ""), ("FATAL", 0, "resume")])
def test_what_could_not_have_its_port_because_of_an_orphan_is_no_exit(state: str, pid: int, act: str) -> None:
    one, found = after_look(replace(ONE, exits=2), state, pid, later(5), orphaned=True)
    assert (one.exits, one.hold, found) == (2, "", act)
    after, _ = after_look(one, "RUNNING", 12, later(7))
    assert (after.pid, after.exits) == (12, 2), "whatever runs next is its first process under the new manager"


def test_the_pauses_grow_until_it_is_not_started_any_more() -> None:
    one, now, delays = replace(ONE, exits=1), NOW, []
    for pid in range(11, 20):
        one, act = after_look(one, "RUNNING", pid, now)
        assert act == "pause"
        if one.hold == "stopped":
            break
        assert one.hold_until
        delays.append((one.hold_until - now).total_seconds())
        assert after_look(one, "STOPPED", 0, one.hold_until - timedelta(seconds=0.1)) == (one, "")
        now = one.hold_until
        assert after_look(one, "STOPPED", 0, now) == (one, "resume")
        one, act = after_look(one, "STARTING", pid + 100, now)
        assert (one.hold, one.pid, act) == ("", pid + 100, "")
    assert delays == [2, 4, 8, 16]
    assert (one.exits, one.hold) == (CRASH_LOOP, "stopped")
    assert after_look(one, "STOPPED", 0, now + timedelta(days=1)) == (one, ""), "nobody asked for it"


def test_a_process_that_lived_long_has_ended_the_row() -> None:
    after, act = after_look(replace(ONE, exits=5), "RUNNING", 11, later(61))
    assert (after.exits, act) == (1, "")
    after, act = after_look(replace(ONE, exits=5, why="it exited"), "RUNNING", 10, later(61))
    assert (after.exits, after.why, act) == (0, "it exited", ""), "the reason is still told"
    assert assess([after]) == ("running", "healthy", "started again: it exited")


def test_a_manager_that_gave_up_has_seen_four_exits() -> None:
    after, act = after_look(ONE, "FATAL", 0, NOW)
    assert (after.exits, after.hold, after.hold_until, act) == (4, "delay", NOW + delay_after(4), "pause")
    assert after_look(replace(ONE, exits=4), "FATAL", 0, NOW)[0].exits == 5
    after, act = after_look(replace(ONE, exits=5), "FATAL", 0, NOW)
    assert (after.hold, act) == ("stopped", "pause")


def test_what_was_started_by_hand_is_free_again() -> None:
    held = replace(ONE, pid=0, exits=6, hold="stopped", why="it exited")
    after, act = after_look(held, "RUNNING", 12, NOW)
    assert (after.pid, after.exits, after.hold, after.why, act) == (12, 0, "", "", "")


def test_what_was_stopped_by_hand_is_no_exit() -> None:
    stopped, act = after_look(ONE, "STOPPED", 0, NOW)
    assert (stopped.pid, stopped.exits, act) == (0, 0, "")
    assert after_look(stopped, "RUNNING", 11, NOW)[0].exits == 0


@pytest.mark.parametrize("state", ["BACKOFF", "EXITED", "STOPPING"])
def test_what_is_on_its_way_is_left_alone(state: str) -> None:
    assert after_look(ONE, state, 0, NOW) == (ONE, "")


def test_an_ill_process_is_ended_and_its_illness_is_the_reason() -> None:
    after, act = after_look(ONE, "RUNNING", 10, later(5), ailment="it is ill")
    assert (after.hold, after.hold_until, after.why, act) == ("delay", later(5), "it is ill", "pause")
    after, act = after_look(replace(ONE, exits=5), "RUNNING", 10, later(5), ailment="it is ill")
    assert (after.hold, act) == ("stopped", "pause")


def test_the_status_says_why_an_instance_waits() -> None:
    status, _, message = assess([replace(ONE, hold="delay", exits=3, why="it exited"), replace(ONE, index=2)])
    assert (status, message) == (
        "degraded", "1 of 2 instances do not run: it exited (3 times in a row); it is started again"
    )  # fmt: skip
    _, _, message = assess([replace(ONE, hold="stopped", seen="STOPPED", exits=6, why="it exited with code 1")])
    assert "crash loop, 6 times in a row it exited with code 1; stopped" in message
    assert "supervisorctl" not in message


def looks(vitals: Vitals, *times: float, well: bool = False, one: Instance = ONE) -> str:
    for now in times:
        vitals.note(one, well=well, said="GET /health: answered 500", now=now, patience_s=30, start_s=120)
    return vitals.ailment(one.id, one.pid)


def test_three_failed_looks_over_the_services_timeout_make_it_ill() -> None:
    vitals = Vitals()
    looks(vitals, 0, well=True)
    assert looks(vitals, 10, 20, 30) == "", "a call may still hold it up"
    assert "did not answer as healthy for 30 s (GET /health: answered 500)" in looks(vitals, 40)
    assert vitals.ailment(ONE.id, 11) == "", "another process is another matter"
    assert looks(vitals, 50, well=True) == ""


def test_two_failed_looks_are_too_few_however_far_apart() -> None:
    vitals = Vitals()
    looks(vitals, 0, well=True)
    assert looks(vitals, 10, 100) == ""


def test_a_process_that_was_never_well_has_the_time_of_a_start() -> None:
    vitals = Vitals()
    assert looks(vitals, 0, 60, 119) == ""
    assert looks(vitals, 121, 140) == ""
    assert looks(vitals, 152)
    vitals.keep(set(), set())
    assert vitals.ailment(ONE.id, ONE.pid) == ""
