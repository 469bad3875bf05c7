"""How many callbacks one receiver gets at once."""

from __future__ import annotations

from algodock_runner.domain.callbacks import Answer
from algodock_runner.domain.pacing import FIRST, KEPT, LONGEST_PAUSE_S, Pacing

TAKEN, HUNG = Answer(204), Answer(None, "no answer")


def through(pacing: Pacing, name: str, *answers: Answer | None, now: float = 0) -> None:
    for answer in answers:
        pacing.begin(name)
        pacing.end(name, answer, now)


def test_who_takes_them_gets_more_up_to_a_bound() -> None:
    pacing = Pacing(8)
    through(pacing, "a:80", TAKEN)
    assert pacing.free(0) == {"a:80": FIRST + 1}
    through(pacing, "a:80", *[TAKEN] * 20)
    assert pacing.free(0) == {"a:80": 8}
    pacing.begin("a:80")
    assert pacing.free(0) == {"a:80": 7}


def test_who_does_not_answer_gets_one() -> None:
    pacing = Pacing(8)
    through(pacing, "a:80", *[TAKEN] * 20, HUNG)
    through(pacing, "b:80", TAKEN)
    assert pacing.free(0) == {"a:80": 1, "b:80": FIRST + 1}
    pacing.begin("a:80")
    assert pacing.free(0)["a:80"] == 0


def test_an_answer_that_is_no_success_changes_nothing() -> None:
    pacing = Pacing(8)
    through(pacing, "a:80", Answer(500), Answer(404), None)
    assert pacing.free(0) == {"a:80": FIRST}


def test_who_asks_for_a_pause_gets_it_and_not_a_longer_one_than_is_sensible() -> None:
    pacing = Pacing(8)
    through(pacing, "a:80", Answer(429, retry_after_s=30), now=100)
    assert (pacing.free(129)["a:80"], pacing.free(131)["a:80"]) == (0, FIRST)
    through(pacing, "a:80", Answer(503, retry_after_s=1e6), now=200)
    assert pacing.free(200 + LONGEST_PAUSE_S)["a:80"] == FIRST


def test_even_the_first_ones_keep_to_the_bound() -> None:
    assert Pacing(1).first == 1


def test_a_bounded_number_of_receivers_is_remembered() -> None:
    pacing = Pacing(8)
    pacing.begin("busy:80")
    for number in range(KEPT + 100):
        through(pacing, f"h{number}:80", TAKEN)
    assert len(pacing.free(0)) <= KEPT + 1
    assert pacing.free(0)["busy:80"] == FIRST - 1
    pacing.end("gone:80", TAKEN, 0)  # of a receiver that is forgotten
