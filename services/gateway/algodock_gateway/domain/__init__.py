"""The gateway's words: keys, operations, the limits of a call, and the errors that callers see."""

from algodock_gateway.domain.errors import (
    AlgorithmUnknown,
    AnswerOverdue,
    BodyTooLarge,
    CallQueueFull,
    CallWaitedTooLong,
    GitKeyRefused,
    InstanceFailed,
    KeyRefused,
    NoInstance,
    NotTheOwner,
    RunsElsewhere,
    ServiceUnknown,
    SlotsUnknown,
    SpeaksGrpc,
)

__all__ = [
    "AlgorithmUnknown",
    "AnswerOverdue",
    "BodyTooLarge",
    "CallQueueFull",
    "CallWaitedTooLong",
    "GitKeyRefused",
    "InstanceFailed",
    "KeyRefused",
    "NoInstance",
    "NotTheOwner",
    "RunsElsewhere",
    "ServiceUnknown",
    "SlotsUnknown",
    "SpeaksGrpc",
]
