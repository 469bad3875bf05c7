"""What the reconciler would do, and what it would rather not."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import TYPE_CHECKING
from uuid import UUID, uuid4

import pytest

from algodock_common.events import InstanceState
from algodock_registry.domain import Deployed, Seen, plan_repair

if TYPE_CHECKING:
    from algodock_common.events import ReleaseState, ServiceStatus

OLD, NEW = uuid4(), uuid4()


def instance(state: InstanceState, release: UUID | None) -> Seen:
    return Seen(uuid4(), release, state, datetime(2026, 8, 1, tzinfo=UTC))


def deployed(
    status: ServiceStatus | None = "running", *serving: Seen, releases: dict[UUID, ReleaseState | None] | None = None
) -> Deployed:
    return Deployed(status, frozenset(one.id for one in serving), releases or {})


def plan(said: Deployed, *present: Seen, well: tuple[Seen, ...] = ()) -> list[tuple[UUID, InstanceState]]:
    steps = plan_repair(said, present, well={one.id for one in well})
    return [(step.instance_id, step.to) for step in steps]


def test_a_lost_live_event_is_made_up_for() -> None:
    new, old = instance("starting", NEW), instance("ready", OLD)
    assert plan(deployed("running", new), new, old, well=(new,)) == [(new.id, "ready"), (old.id, "draining")]


def test_what_does_not_answer_does_not_become_ready_nor_take_over() -> None:
    new, old = instance("starting", NEW), instance("ready", OLD)
    assert plan(deployed("running", new), new, old) == []


@pytest.mark.parametrize("status", ["building", "starting", "stopping", "failed"])
def test_a_service_that_does_not_serve_yet_rises_not(status: ServiceStatus) -> None:
    new = instance("starting", NEW)
    assert plan(deployed(status, new), new, well=(new,)) == []


@pytest.mark.parametrize("state", ["kept", "failed", "superseded", None])
def test_instances_of_an_ended_release_are_gone(state: ReleaseState | None) -> None:
    starting, draining = instance("starting", OLD), instance("draining", OLD)
    said = deployed("running", releases={OLD: state})
    assert plan(said, starting, draining) == [(starting.id, "gone"), (draining.id, "gone")]


@pytest.mark.parametrize("state", ["building", "starting", "checking", "live", "draining"])
def test_instances_of_a_release_on_its_way_are_left_alone(state: ReleaseState) -> None:
    said = deployed("building", releases={NEW: state})
    assert plan(said, instance("starting", NEW), instance("draining", NEW)) == []


def test_a_release_that_nobody_was_asked_about_is_left_alone() -> None:
    assert plan(deployed("running"), instance("starting", NEW)) == []


def test_what_serves_is_not_drained_for_a_deployer_that_does_not_know_it() -> None:
    assert plan(deployed(None), instance("ready", OLD), instance("silent", OLD)) == []


def test_what_serves_is_not_drained_when_nobody_takes_its_place() -> None:
    assert plan(deployed("running"), instance("ready", OLD)) == []


def test_a_lost_stop_is_made_up_for() -> None:
    ready, draining = instance("ready", OLD), instance("draining", OLD)
    assert plan(deployed("stopped"), ready, draining) == [(ready.id, "draining"), (draining.id, "gone")]


def test_services_that_run_elsewhere_are_not_the_deployers_to_end() -> None:
    assert plan(deployed("stopped"), instance("ready", None)) == []
