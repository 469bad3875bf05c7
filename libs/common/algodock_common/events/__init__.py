"""The event catalogue: one module a step, one table (``flow``) of them all."""

from algodock_common.events.algorithm import AlgorithmChanged, AlgorithmLimits
from algodock_common.events.code import CodePushed
from algodock_common.events.command import MOST_INSTANCES, ScaleRule, ServiceCommand
from algodock_common.events.dead_letter import DeadLetter
from algodock_common.events.envelope import Event, EventData
from algodock_common.events.flow import FLOW, Step
from algodock_common.events.instance import InstanceChanged, InstanceState
from algodock_common.events.load import ServiceLoad
from algodock_common.events.release import Limits, ReleaseChanged, ReleaseState, ReleaseStep, ServiceStatus
from algodock_common.events.task import (
    TASK_TERMINAL_STATES,
    TaskAccepted,
    TaskError,
    TaskFinished,
    TaskReady,
    TaskRequest,
    TaskRequested,
    TaskRerun,
    TaskState,
)

__all__ = [
    "FLOW",
    "MOST_INSTANCES",
    "TASK_TERMINAL_STATES",
    "AlgorithmChanged",
    "AlgorithmLimits",
    "CodePushed",
    "DeadLetter",
    "Event",
    "EventData",
    "InstanceChanged",
    "InstanceState",
    "Limits",
    "ReleaseChanged",
    "ReleaseState",
    "ReleaseStep",
    "ScaleRule",
    "ServiceCommand",
    "ServiceLoad",
    "ServiceStatus",
    "Step",
    "TaskAccepted",
    "TaskError",
    "TaskFinished",
    "TaskReady",
    "TaskRequest",
    "TaskRequested",
    "TaskRerun",
    "TaskState",
]
