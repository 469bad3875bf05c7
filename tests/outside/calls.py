"""One algorithm called all the while, and what became of the calls."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field

import httpx

from tests.outside.platform import Platform, eventually

__all__ = ["Calls", "called"]

PAUSE_S = 0.01


@dataclass
class Calls:
    """The calls so far; what is not answered with success is in ``refused``, and was not tried again."""

    answered: int = 0
    refused: list[str] = field(default_factory=list)
    dark_s: float = 0.0
    """The longest time between one success and the next: what a caller who repeats waits at most."""


@contextmanager
def called(platform: Platform, name: str) -> Iterator[Calls]:
    """Call an algorithm, one call after the other, while the block runs, which begins with the first answer."""
    over, calls = threading.Event(), Calls()

    def call() -> None:
        last = time.monotonic()
        with platform.api() as api:
            while not over.wait(PAUSE_S):
                try:
                    answer = api.post(f"/ai/{name}/predict", json={})
                except httpx.TransportError as error:
                    calls.refused.append(repr(error))
                    continue
                calls.answered += 1
                if answer.status_code != 200:
                    calls.refused.append(answer.text[:300])
                    continue
                now = time.monotonic()
                calls.dark_s, last = max(calls.dark_s, now - last), now

    calling = threading.Thread(target=call)
    calling.start()
    try:
        eventually(lambda: calls.answered)
        yield calls
    finally:
        over.set()
        calling.join()
