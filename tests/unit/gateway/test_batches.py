"""One command to many services: who is meant, and what the answers make of the whole."""

from __future__ import annotations

from uuid import uuid4

import pytest

from algodock_common.errors import InvalidInput
from algodock_common.identifiers import uuid7
from algodock_gateway.domain.batches import Batch, BatchAction, BatchResult, BatchState, ResultState, Selection, choose
from algodock_gateway.domain.services import ServiceView


def view(name: str, status: str = "running", *, group: str | None = None, live: bool = True) -> ServiceView:
    return ServiceView(
        id=uuid4(), name=name, status=status, health="unknown", api_url="x", group=group,
        release_id=uuid7() if live else None,
    )  # fmt: skip


RUNS, STOPPED, NEW, AWAY = view("runs", group="g"), view("stopped", "stopped"), view("new", live=False), view("away")


@pytest.mark.parametrize(
    "selection", [{}, {"everything": True, "group": "g"}, {"group": "g", "services": ("a",)}], ids=str
)
def test_a_selection_says_exactly_one_thing(selection: dict[str, object]) -> None:
    with pytest.raises(InvalidInput, match="exactly one"):
        Selection(**selection)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("action", "taken"),
    [("start", ["stopped"]), ("stop", ["runs", "new"]), ("restart", ["runs", "new"]), ("redeploy", ["runs", "new"])],
)
def test_of_all_only_those_are_touched_for_which_it_makes_sense(action: BatchAction, taken: list[str]) -> None:
    chosen = choose(action, Selection(everything=True), [RUNS, STOPPED, NEW, AWAY], frozenset({"away"}))
    assert [name for name, _, state, _ in chosen if state == "accepted"] == taken
    assert all(why for _, _, state, why in chosen if state == "skipped")
    assert len(chosen) == 4


def test_a_group_means_its_own_services() -> None:
    chosen = choose("restart", Selection(group="g"), [RUNS, STOPPED, NEW], frozenset())
    assert [name for name, *_ in chosen] == ["runs"]


def test_what_is_named_is_done_once_by_name_or_id_and_what_cannot_be_is_refused_by_itself() -> None:
    named = Selection(services=("stopped", str(STOPPED.id).upper(), "none", "away"))
    chosen = choose("restart", named, [RUNS, STOPPED, AWAY], frozenset({"away"}))
    assert [(name, state) for name, _, state, _ in chosen] == [
        ("stopped", "accepted"), ("none", "refused"), ("away", "refused"),
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("states", "whole"),
    [
        (["succeeded", "accepted"], "running"),
        (["succeeded", "skipped"], "succeeded"),
        (["succeeded", "failed"], "partly failed"),
        (["failed", "refused"], "failed"),
        ([], "succeeded"),
    ],
)
def test_the_whole_is_what_the_parts_are(states: list[ResultState], whole: BatchState) -> None:
    results = [BatchResult(name=str(number), state=state) for number, state in enumerate(states)]
    assert Batch(uuid7(), "stop", "me", results).state == whole


def test_what_the_deployer_says_is_taken_over_and_an_end_stays() -> None:
    one, other = uuid7(), uuid7()
    results = [BatchResult(name=str(id_), operation_id=id_, state="accepted") for id_ in (one, other)]
    batch = Batch(uuid7(), "stop", "me", results).told({one: ("failed", "no")})
    assert [(result.state, result.reason) for result in batch.results] == [("failed", "no"), ("accepted", "")]
    assert batch.open_operations() == [other]
    assert batch.told({one: ("done", ""), other: ("done", "")}).state == "partly failed"
