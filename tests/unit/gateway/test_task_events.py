"""Events of a task in their order, and ids from which a watcher goes on without loss or repetition."""

from __future__ import annotations

import json
import re
from typing import Any

import pytest

from algodock_common.errors import BadRequest
from algodock_gateway.domain.task_events import Cursor, Spoken, Step, event, merged


def step(index: int, state: str, attempt: int) -> Step:
    return Step.of({"index": index, "state": state, "attempt": attempt})


def said(number: int, attempt: int, kind: str = "progress") -> Spoken:
    return Spoken(f"{number}-0", kind, attempt, json.dumps({"attempt": attempt, "n": number}))


STEPS = [
    step(0, "accepted", 0),
    step(1, "queued", 0),
    step(2, "running", 1),
    step(3, "queued", 1),
    step(4, "running", 2),
    step(5, "succeeded", 2),
]
SPOKEN = [said(10, 1), said(11, 1, "log"), said(20, 2), said(21, 1, "output"), said(22, 2)]


def read(parts: list[bytes]) -> list[tuple[str, str]]:
    found = []
    for part in parts:
        match = re.fullmatch(rb"id: (\S+)\nevent: (\w+)\ndata: (.*)\n\n", part)
        assert match, part
        data = json.loads(match[3])
        found.append((match[1].decode(), data.get("state") or f"{match[2].decode()} {data['n']}"))
    return found


def all_of(cursor: Cursor, steps: list[Step], spoken: list[Spoken]) -> list[bytes]:
    parts = []
    for words in (spoken, []):
        for behind, part in merged(cursor, steps, words):
            cursor = behind
            parts.append(part)
    return parts


def test_what_an_attempt_says_stands_between_its_beginning_and_its_end() -> None:
    assert [what for _, what in read(all_of(Cursor(), STEPS, SPOKEN))] == [
        "accepted",
        "queued",
        "running",
        "progress 10",
        "log 11",
        "queued",
        "running",
        "progress 20",
        "output 21",  # of a worker that lost its lease, in the order in which it was said
        "progress 22",
        "succeeded",
    ]


@pytest.mark.parametrize("stop", range(12))
def test_a_watcher_who_comes_back_gets_exactly_the_rest(stop: int) -> None:
    whole = read(all_of(Cursor(), STEPS, SPOKEN))
    had, rest = whole[:stop], whole[stop:]
    cursor = Cursor.parse(had[-1][0] if had else None)
    later = [one for one in SPOKEN if int(one.id.partition("-")[0]) > int(cursor.entry.partition("-")[0])]
    assert read(all_of(cursor, STEPS, later)) == rest


def test_steps_behind_what_was_said_last_wait_for_what_may_still_be_said() -> None:
    parts = [part for _, part in merged(Cursor(), STEPS, SPOKEN[:2])]
    assert [what for _, what in read(parts)] == ["accepted", "queued", "running", "progress 10", "log 11"]


def test_ids_can_be_read_again() -> None:
    for cursor in (Cursor(), Cursor(3, "1700000000000-12"), Cursor(5, "0-0", done=True)):
        assert Cursor.parse(str(cursor)) == cursor
    assert Cursor.parse(None) == Cursor.parse("") == Cursor()


@pytest.mark.parametrize(
    "text", ["x", "1", "1/2", "1/2-3/", "-2/0-0", "1/2-3/done/", " 1/2-3", "1/2-3\n", "\u0661/2-3", "9" * 30]
)
def test_an_id_that_is_none_of_ours_is_refused(text: str) -> None:
    with pytest.raises(BadRequest, match="Last-Event-ID"):
        Cursor.parse(text)


def test_an_event_is_one_line_of_data_whatever_it_holds() -> None:
    data: dict[str, Any] = {"message": "a\nb\r\n\u2028ü"}
    part = event(Cursor(1, "2-3"), "log", data)
    assert part.count(b"\n") == 4
    assert json.loads(part.split(b"data: ")[1]) == data
