"""The scale rule and the load that it goes by."""

from __future__ import annotations

import pytest
from pydantic import ValidationError

from algodock_common.events import ScaleRule, ServiceLoad
from algodock_common.identifiers import uuid7
from algodock_deployer.domain.scaling import LoadBoard, decide, instances_for

RULE = ScaleRule(min=1, max=5, target=4, cooldown_s=60)
SLEEPER = ScaleRule(min=0, max=2, target=4, cooldown_s=10, idle_s=60)


def load(router: str = "gateway", algorithm: str = "echo", **counts: int) -> ServiceLoad:
    return ServiceLoad.model_validate({"router": router, "algorithm_id": uuid7(), "algorithm": algorithm, **counts})


@pytest.mark.parametrize(("demand", "instances"), [(0, 1), (4, 1), (4.5, 2), (9, 3), (20, 5), (1000, 5)])
def test_each_instance_has_about_the_target_within_the_bounds(demand: float, instances: int) -> None:
    assert instances_for(RULE, demand) == instances


@pytest.mark.parametrize(
    ("current", "sustained", "peak", "settled_s", "wanted"),
    [
        (1, 12, 12, 0, 3),  # it grows at once
        (1, 0, 12, 999, 1),  # but not for a moment's load
        (3, 0, 0, 59, 3),  # it shrinks after the cool-down
        (3, 0, 0, 60, 1),
        (3, 0, 8, 60, 2),  # only so far as the cool-down's load allows
        (3, 0, 12, 60, 3),
        (9, 20, 20, 0, 5),  # the rule's bounds hold
    ],
)
def test_it_grows_for_a_load_that_lasts_and_shrinks_after_the_cooldown(
    current: int, sustained: float, peak: float, settled_s: float, wanted: int
) -> None:
    assert decide(RULE, current, sustained=sustained, peak=peak, quiet_s=999, settled_s=settled_s) == wanted


@pytest.mark.parametrize(
    ("rule", "peak", "quiet_s", "settled_s", "wanted"),
    [
        (SLEEPER, 0, 60, 60, 0),
        (SLEEPER, 0, 59, 999, 1),  # somebody called a minute ago
        (SLEEPER, 0, 999, 59, 1),  # it woke a minute ago
        (SLEEPER, 1, 999, 999, 1),
        (RULE, 0, 999, 999, 1),  # its rule lets it not sleep
    ],
)
def test_it_sleeps_only_after_idleness_and_only_if_its_rule_says_so(
    rule: ScaleRule, peak: float, quiet_s: float, settled_s: float, wanted: int
) -> None:
    assert decide(rule, 1, sustained=0, peak=peak, quiet_s=quiet_s, settled_s=settled_s) == wanted


def test_what_waits_for_any_worker_counts_once_and_the_rest_adds_up() -> None:
    board = LoadBoard()
    board.put(load("gateway", in_flight=2, queued=3), 10)
    board.put(load("worker-1", in_flight=4, backlog=50), 10)
    board.put(load("worker-2", in_flight=1, backlog=49), 10)
    board.put(load("worker-2", algorithm="other", in_flight=9), 10)
    assert board.demand("echo", 11) == 2 + 3 + 4 + 1 + 50


def test_a_router_that_says_nothing_any_more_has_nothing() -> None:
    board = LoadBoard()
    board.put(load(in_flight=2), 10)
    assert board.busy("echo", 12)
    assert not board.busy("echo", 14)
    assert board.demand("echo", 14) == 0
    board.put(load(), 15)
    assert not board.busy("echo", 15)


def test_a_load_is_sustained_when_it_lasted_and_its_peak_is_remembered_for_the_cooldown() -> None:
    board = LoadBoard()
    seen = []
    for second, in_flight in enumerate([20, 20, 20, 0, 0, 0, 0]):
        board.put(load(in_flight=in_flight), second)
        seen.append(board.note("echo", second, keep_s=4))
    assert [sustained for sustained, _ in seen] == [0, 0, 20, 0, 0, 0, 0]
    assert [peak for _, peak in seen] == [20, 20, 20, 20, 20, 20, 20]
    assert board.note("echo", 7, keep_s=4) == (0, 0)


def test_what_has_no_rule_any_more_and_who_is_gone_is_forgotten() -> None:
    board = LoadBoard()
    board.put(load(in_flight=20), 0)
    board.note("echo", 0, keep_s=60)
    board.forget(set(), 100)
    assert board.note("echo", 100, keep_s=200) == (0, 0)


@pytest.mark.parametrize(
    "wrong",
    [
        {},
        {"max": 0},
        {"max": 65},
        {"min": 3, "max": 2},
        {"min": -1, "max": 2},
        {"max": 2, "idle_s": 0},
        {"max": 2, "target": 0},
        {"max": 2, "x": 1},
    ],
)
def test_a_rule_that_cannot_be_is_refused(wrong: dict[str, int]) -> None:
    with pytest.raises(ValidationError):
        ScaleRule.model_validate(wrong)
