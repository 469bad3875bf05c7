"""One message on its way: what is waited for without end, what is given up, and when it may be acknowledged."""

from __future__ import annotations

import asyncio
from types import SimpleNamespace
from typing import Any, cast

import pytest

from algodock_common.errors import InvalidInput, Unavailable
from algodock_common.events import DeadLetter, Event, TaskRequested
from algodock_common.events.flow import step_of
from algodock_common.messaging import RetryPolicy, Signer
from algodock_common.messaging.consume import Intake

QUICK = RetryPolicy(attempts=3, first_wait_s=0.001, longest_wait_s=0.002)
VALUE = Event.of(TaskRequested(algorithm="echo"), source="/test").model_dump_json(exclude_unset=True).encode()
RECORD = cast("Any", SimpleNamespace(topic="task.requested", partition=0, offset=7, key=None, value=VALUE, headers=()))


async def taken(errors: list[Exception], away: int = 0) -> tuple[int, int, list[DeadLetter]]:
    """Take a message whose handler raises ``errors``, one a call; return its calls, the burials and what was buried.

    The dead letters' topic refuses ``away`` times.
    """
    calls = burials = 0
    letters: list[DeadLetter] = []

    async def handle(_: Event[Any]) -> None:
        nonlocal calls
        calls += 1
        if errors:
            raise errors.pop(0)

    async def bury(letter: DeadLetter) -> None:
        nonlocal burials
        burials += 1
        if burials <= away:
            msg = "the broker is away"
            raise Unavailable(msg)
        letters.append(letter)

    intake = Intake(step_of(TaskRequested), "c", handle, signer=Signer(b"k" * 32), bury=bury, retry=QUICK)
    async with asyncio.timeout(60):
        await intake.take(RECORD)
    return calls, burials, letters


async def test_a_server_that_is_away_is_waited_for_past_every_limit() -> None:
    assert await taken([ConnectionRefusedError("PostgreSQL is restarted")] * 20) == (21, 0, [])


@pytest.mark.parametrize(
    ("error", "calls"), [(Unavailable("full"), 3), (InvalidInput("no"), 1), (ValueError("bug"), 1)]
)
async def test_what_does_not_pass_is_given_up_with_its_reason(error: Exception, calls: int) -> None:
    called, _, letters = await taken([error] * 20)
    assert called == calls
    assert [(one.error_type, one.attempts, one.raw()) for one in letters] == [(type(error).__name__, calls, VALUE)]


async def test_what_is_given_up_is_not_acknowledged_before_it_lies_there() -> None:
    """Else a broker that is away would cost the message."""
    _, burials, letters = await taken([InvalidInput("no")], away=5)
    assert (burials, len(letters)) == (6, 1)
