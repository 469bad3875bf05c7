"""What signs of life and releases make of an instance."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID, uuid4

import pytest

from algodock_common.events import InstanceState, ReleaseChanged
from algodock_registry.domain import Seen, after_failed_look, after_life_sign, may_become, plan_release

NOW = datetime(2026, 8, 1, tzinfo=UTC)
OLD, NEW = uuid4(), uuid4()


def instance(state: InstanceState, release: UUID | None, *, age_s: float = 60) -> Seen:
    return Seen(uuid4(), release, state, NOW - timedelta(seconds=age_s))


def release(**changed: object) -> ReleaseChanged:
    base: dict[str, Any] = {
        "release_id": NEW,
        "algorithm_id": uuid4(),
        "algorithm": "echo",
        "state": "live",
        "service_status": "running",
    }
    return ReleaseChanged(**base | changed)


def plan(event: ReleaseChanged, *instances: Seen) -> list[tuple[UUID, InstanceState]]:
    return [(step.instance_id, step.to) for step in plan_release(event, NOW, instances)]


def test_three_looks_in_vain_make_silent_and_one_sign_of_life_ready_again() -> None:
    assert [after_failed_look("ready", missed) for missed in (1, 2, 3)] == ["ready", "ready", "silent"]
    assert after_life_sign("silent") == "ready"


@pytest.mark.parametrize("state", ["starting", "draining", "gone"])
def test_neither_changes_who_is_not_serving(state: InstanceState) -> None:
    assert after_failed_look(state, 9) == state
    assert after_life_sign(state) == state


def test_nothing_comes_back_from_gone() -> None:
    assert not any(may_become("gone", to) for to in ("starting", "ready", "silent", "draining", "gone"))


def test_a_live_release_rises_before_the_old_one_drains() -> None:
    old, silent = instance("ready", OLD, age_s=90), instance("silent", OLD, age_s=80)
    new = instance("starting", NEW)
    assert plan(release(instances=[new.id]), old, silent, new) == [
        (new.id, "ready"),
        (old.id, "draining"),
        (silent.id, "draining"),
    ]


def test_a_live_release_takes_the_place_of_a_service_that_registered_itself() -> None:
    elsewhere, new = instance("ready", None), instance("starting", NEW)
    assert plan(release(instances=[new.id]), elsewhere, new) == [(new.id, "ready"), (elsewhere.id, "draining")]


def test_a_live_release_leaves_alone_what_another_one_is_starting() -> None:
    new, other = instance("starting", NEW), instance("starting", uuid4())
    assert plan(release(instances=[new.id]), new, other) == [(new.id, "ready")]


def test_applying_a_release_again_changes_nothing() -> None:
    old, new = instance("draining", OLD), instance("ready", NEW)
    assert plan(release(instances=[new.id]), old, new) == []


@pytest.mark.parametrize("listed", [[], [uuid4()]])
def test_nothing_drains_for_a_release_that_has_no_instance_here(listed: list[UUID]) -> None:
    assert plan(release(instances=listed), instance("ready", OLD)) == []


def test_a_rollback_before_the_drain_ended_makes_the_old_instance_serve_again() -> None:
    old, new = instance("draining", OLD), instance("ready", NEW)
    event = release(release_id=OLD, instances=[old.id])
    assert plan(event, old, new) == [(old.id, "ready"), (new.id, "draining")]


def test_a_silent_instance_is_not_made_ready_by_a_release() -> None:
    silent = instance("silent", NEW)
    assert plan(release(instances=[silent.id]), silent) == []


def test_a_stop_drains_everything_that_serves() -> None:
    ready, silent, starting = instance("ready", OLD), instance("silent", OLD), instance("starting", NEW)
    event = release(serving=False, service_status="stopping", instances=[])
    assert plan(event, ready, silent, starting) == [(ready.id, "draining"), (silent.id, "draining")]


@pytest.mark.parametrize("state", ["kept", "failed", "superseded"])
def test_an_ended_releases_instances_are_gone_and_others_stay(state: str) -> None:
    ended, starting, serving = instance("draining", NEW), instance("starting", NEW), instance("ready", OLD)
    assert plan(release(state=state), ended, starting, serving) == [(ended.id, "gone"), (starting.id, "gone")]


def test_a_releases_end_spares_what_was_started_after_it_was_said() -> None:
    again = instance("starting", NEW, age_s=-1)
    assert plan(release(state="kept"), again) == []


def test_a_releases_end_spares_what_it_lists_as_serving() -> None:
    serving = instance("ready", NEW)
    assert plan(release(state="kept", instances=[serving.id]), serving) == []


@pytest.mark.parametrize("state", ["queued", "building", "starting", "checking", "draining"])
def test_steps_on_the_way_change_no_route(state: str) -> None:
    assert plan(release(state=state), instance("starting", NEW), instance("ready", OLD)) == []
