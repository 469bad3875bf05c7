"""A task's timeline, derived: every step of its state out of its row and the attempts that did not end it.

Nothing is written for it. Each step has a number of its own that only says which step it is (below),
so it stays the same however much later somebody looks, and an event stream can resume behind it.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import datetime  # pydantic reads the annotations
from typing import TYPE_CHECKING, Any
from uuid import UUID  # as above

from pydantic import BaseModel, ConfigDict

from algodock_common.events import TASK_TERMINAL_STATES, TaskError, TaskState

if TYPE_CHECKING:
    from collections.abc import Sequence

__all__ = ["History", "Spent", "Timeline", "Transition", "Worked", "first_attempt_after", "transitions"]

ACCEPTED = 0
QUEUED = 1


@dataclass(frozen=True, slots=True)
class Worked:
    """Who worked on an attempt, as far as it is known: all of it once the attempt has ended."""

    worker_id: str | None = None
    instance_id: UUID | None = None
    release_id: UUID | None = None
    commit: str = ""
    config_version: int | None = None


@dataclass(frozen=True, slots=True)
class Spent:
    """An attempt that did not end its task; ``outcome`` says why the task went back into the queue."""

    attempt: int
    outcome: str
    started_at: datetime | None
    ended_at: datetime
    worked: Worked = Worked()
    error: dict[str, Any] | None = None


@dataclass(frozen=True, slots=True)
class History:
    """What the task's row says; ``spent`` are its earlier attempts in their order.

    With ``more`` there are further ones behind them, and what the row says comes after those.
    """

    id: UUID
    state: TaskState
    algorithm: str
    attempt: int
    created_at: datetime
    not_before: datetime | None = None
    queued_at: datetime | None = None
    claimed_at: datetime | None = None
    finished_at: datetime | None = None
    wakes_at: datetime | None = None
    worked: Worked = Worked()
    error: dict[str, Any] | None = None
    spent: Sequence[Spent] = field(default=())
    more: bool = False


class Transition(BaseModel):
    """One step of a task: into ``state`` at ``at``, by or after ``attempt`` (0: none yet).

    ``reason`` says why a task went back into the queue: its attempt ``failed``, was ``not started``
    (no instance took it), was ``handed back`` (the worker stopped) or ``lost`` (the worker died);
    ``resumes_at`` is when it is taken up again, while that is still to come.
    """

    model_config = ConfigDict(frozen=True)

    index: int
    state: TaskState
    at: datetime
    attempt: int
    reason: str | None = None
    resumes_at: datetime | None = None
    worker_id: str | None = None
    instance_id: UUID | None = None
    release_id: UUID | None = None
    commit: str = ""
    config_version: int | None = None
    error: TaskError | None = None


class Timeline(BaseModel):
    """A task's steps in their order; ``next`` goes into ``after`` where there are more."""

    id: UUID
    state: TaskState
    algorithm: str
    attempt: int
    transitions: list[Transition]
    next: int | None = None


def first_attempt_after(index: int) -> int:
    """Return the first attempt that has to be known to tell the steps behind ``index``."""
    return max(0, (index - 1) // 2)


def transitions(history: History, *, after: int = -1) -> list[Transition]:
    """Return the task's steps behind number ``after``, oldest first.

    0 is ``accepted``, 1 the first ``queued``; attempt n has 2n for ``running`` and 2n + 1 for what
    ended it; a task that ends while it waits behind attempt n does so with 2n + 2.
    """
    found = [_step(ACCEPTED, "accepted", history.created_at, 0), *_first_queued(history)]
    for one in history.spent:
        if one.started_at is not None:
            found.append(_step(2 * one.attempt, "running", one.started_at, one.attempt, worked=one.worked))
        found.append(
            _step(
                2 * one.attempt + 1,
                "queued",
                one.ended_at,
                one.attempt,
                worked=one.worked,
                reason=one.outcome,
                error=one.error,
            )
        )
    if not history.more:
        found += _last(history)
    if history.wakes_at is not None and found[-1].state == "queued":
        found[-1] = found[-1].model_copy(update={"resumes_at": history.wakes_at})
    return [one for one in found if one.index > after]


def _first_queued(history: History) -> list[Transition]:
    if history.queued_at is None:
        return []
    if not history.spent and not history.more:
        at = history.queued_at
    else:  # the row's time is that of a later return into the queue
        at = max(history.created_at, history.not_before or history.created_at)
    return [_step(QUEUED, "queued", at, 0)]


def _last(history: History) -> list[Transition]:
    """Return what the row itself says: the attempt that runs or ended the task, and the end."""
    attempt = history.attempt
    spent = history.spent[-1].attempt if history.spent else 0
    worked_on = attempt > spent and history.claimed_at is not None
    found = []
    if worked_on and history.claimed_at is not None:
        found.append(_step(2 * attempt, "running", history.claimed_at, attempt, worked=history.worked))
    if history.state in TASK_TERMINAL_STATES and history.finished_at is not None:
        index = 2 * attempt + (1 if worked_on else 2)
        worked = history.worked if worked_on else Worked()
        found.append(
            _step(index, history.state, history.finished_at, attempt, worked=worked, error=history.error),
        )
    return found


def _step(  # the parts of a step
    index: int,
    state: TaskState,
    at: datetime,
    attempt: int,
    *,
    worked: Worked = Worked(),
    reason: str | None = None,
    error: dict[str, Any] | None = None,
) -> Transition:
    return Transition(
        index=index,
        state=state,
        at=at,
        attempt=attempt,
        reason=reason,
        worker_id=worked.worker_id,
        instance_id=worked.instance_id,
        release_id=worked.release_id,
        commit=worked.commit,
        config_version=worked.config_version,
        error=None if error is None else TaskError.model_validate(error),
    )
