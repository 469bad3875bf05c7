"""Which events end which operations."""

from __future__ import annotations

import pytest

from algodock_common.events import ReleaseChanged
from algodock_common.identifiers import uuid7
from algodock_gateway.domain.operations import ended_by


def release(**more: object) -> ReleaseChanged:
    return ReleaseChanged.model_validate(
        {"release_id": uuid7(), "algorithm_id": uuid7(), "algorithm": "echo", **more},
    )


_STARTED = {"start", "restart", "redeploy", "rollback", "scale", "promote"}


@pytest.mark.parametrize(
    ("told", "actions", "state"),
    [
        ({"state": "kept", "serving": False, "service_status": "stopped"}, {"stop", "remove"}, "succeeded"),
        ({"state": "live", "service_status": "running"}, _STARTED, "succeeded"),
        ({"state": "canary", "service_status": "running"}, {"redeploy"}, "succeeded"),
        ({"state": "failed", "service_status": "running", "reason": "why"}, _STARTED, "failed"),
    ],
)
def test_an_end_ends_what_was_asked_for(told: dict[str, object], actions: set[str], state: str) -> None:
    ended = ended_by(release(**told))
    assert ended is not None
    assert (set(ended.actions), ended.state) == (actions, state)


@pytest.mark.parametrize(
    "told",
    [
        {"state": "building", "service_status": "building"},
        {"state": "kept", "service_status": "running"},
        {"state": "live", "service_status": "running", "settled": False},
        {"state": "draining", "serving": False, "service_status": "stopping"},
    ],
)
def test_what_is_on_its_way_ends_nothing(told: dict[str, object]) -> None:
    assert ended_by(release(**told)) is None
