"""How many objects may wait follows how fast they land."""

from __future__ import annotations

from algodock_runner.domain.landing import FEWEST, IN_TIME_S, Landing


def landed(landing: Landing, *, rate: float, seconds: float, begins: float = 100.0) -> None:
    for number in range(round(rate * seconds) + 1):
        landing.landed(begins + number / rate)


def test_it_follows_the_store() -> None:
    landing = Landing()
    landed(landing, rate=800, seconds=10)
    assert abs(landing.may_wait - 800 * IN_TIME_S) < 50
    landing.pause()
    landed(landing, rate=50, seconds=60, begins=200)
    assert abs(landing.may_wait - 50 * IN_TIME_S) < 20


def test_a_pause_says_nothing_of_the_store() -> None:
    landing = Landing()
    landed(landing, rate=400, seconds=5)
    before = landing.rate
    landing.pause()
    landing.landed(1000)
    landing.landed(1000.001)
    assert landing.rate == before


def test_a_few_may_always_wait() -> None:
    landing = Landing()
    landed(landing, rate=2, seconds=90)
    assert landing.may_wait == FEWEST
