"""The runner's errors; each carries its HTTP status and whether the same call may succeed later."""

from __future__ import annotations

from algodock_common.errors import (
    AlgoDockError,
    Conflict,
    InvalidInput,
    NotFound,
    PayloadTooLarge,
    TooManyRequests,
    Unauthorized,
)

__all__ = [
    "CallbackAddressRefused",
    "CallbackNotDue",
    "CallbackTargetDisabled",
    "DeadLetterNotReplayable",
    "IdempotencyConflict",
    "InvalidTask",
    "NoCallback",
    "QueueFull",
    "ResultGone",
    "TaskEnded",
    "TaskHasNoResult",
    "TaskInputGone",
    "TaskInputTooLarge",
    "UnknownAlgorithm",
    "UnknownCaller",
    "UnknownDeadLetter",
    "UnknownTask",
]


class InvalidTask(InvalidInput):
    """The request is no valid task."""

    title = "Invalid task"
    code = "invalid-task"


class CallbackAddressRefused(InvalidInput):
    """The callback's URL leads where callbacks may not go."""

    title = "Callback address refused"
    code = "callback-address-refused"


class NoCallback(NotFound):
    """The task was submitted without an address to call back."""

    title = "No callback"
    code = "no-callback"


class CallbackNotDue(Conflict):
    """The task has not ended, so there is nothing to say yet."""

    title = "Callback not due"
    code = "callback-not-due"


class CallbackTargetDisabled(Conflict):
    """The address said that it is gone; its owner must enable it before anything is sent there."""

    title = "Callback address disabled"
    code = "callback-target-disabled"


class TaskInputTooLarge(PayloadTooLarge):
    """The task's body is larger than the limit."""

    title = "Task input too large"
    code = "task-input-too-large"


class UnknownAlgorithm(NotFound):
    """No algorithm has this name, or it is archived."""

    title = "Unknown algorithm"
    code = "unknown-algorithm"


class QueueFull(TooManyRequests):
    """As many tasks wait for the algorithm as may."""

    title = "Queue full"
    code = "queue-full"


class UnknownTask(NotFound):
    """The caller has no task with this id."""

    title = "Unknown task"
    code = "unknown-task"


class UnknownCaller(Unauthorized):
    """The message's ``authorization`` header names no valid key."""

    title = "Unknown caller"
    code = "unknown-caller"


class IdempotencyConflict(Conflict):
    """The caller used this idempotency key for another task."""

    title = "Idempotency key reused"
    code = "idempotency-conflict"


class TaskInputGone(Conflict):
    """What the task ran on has been removed."""

    title = "Task input gone"
    code = "task-input-gone"


class TaskEnded(Conflict):
    """The task ended before it could be cancelled."""

    title = "Task ended"
    code = "task-ended"


class TaskHasNoResult(Conflict):
    """The task has not succeeded, or not yet."""

    title = "No result"
    code = "no-result"


class ResultGone(AlgoDockError):
    """The task succeeded, and its result was removed since: by its age, or by its algorithm's quota."""

    status = 410
    title = "Result gone"
    code = "result-gone"


class UnknownDeadLetter(NotFound):
    """The caller has no dead letter with this id."""

    title = "Unknown dead letter"
    code = "unknown-dead-letter"


class DeadLetterNotReplayable(Conflict):
    """What the dead letter holds can only fail again."""

    title = "Not replayable"
    code = "not-replayable"
