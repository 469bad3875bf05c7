"""The flow of the whole product as one ordered table.

push → deploy → register → predict or task → result → callback. From this table come the topics
with their partitions, the README's picture, the AsyncAPI page and the contract test that compares
it with what each service subscribes and publishes.
"""

from __future__ import annotations

from dataclasses import dataclass, field

from algodock_common.events.algorithm import AlgorithmChanged
from algodock_common.events.code import CodePushed
from algodock_common.events.command import ServiceCommand
from algodock_common.events.dead_letter import DeadLetter
from algodock_common.events.envelope import EventData
from algodock_common.events.instance import InstanceChanged
from algodock_common.events.load import ServiceLoad
from algodock_common.events.release import ReleaseChanged
from algodock_common.events.task import TaskAccepted, TaskFinished, TaskReady, TaskRequested

__all__ = ["ANYBODY", "FLOW", "SERVICES", "Step", "consumed_by", "produced_by", "step_of"]

SERVICES = ("gitea-sync", "deployer", "registry", "runner", "worker", "gateway")
"""Who produces and consumes; ``worker`` is the runner's second process."""

ANYBODY = "anybody"
"""A producer outside of the platform, on a public inlet."""


@dataclass(frozen=True, slots=True)
class Step:
    """One row: an event, its topic and who sends it to whom.

    ``groups`` share the work (each message once per group); ``broadcasts`` each see all messages
    and fill themselves from a snapshot first. ``fast`` topics are polled every few milliseconds on
    brokers that do not wake a waiting fetch; messages of one that is not ``paced`` make no consumer eager.
    ``public`` topics carry no HMAC. Published events stay in the outbox for ``kept_s`` seconds, to be
    published again when the broker lost them.
    """

    name: str
    event: type[EventData]
    key: str
    producers: tuple[str, ...]
    groups: tuple[str, ...] = ()
    broadcasts: tuple[str, ...] = ()
    partitions: int = 3
    fast: bool = False
    public: bool = False
    paced: bool = True
    kept_s: int = 3600  # two minutes for what comes with every task, by the thousand
    summary: str = field(default="", compare=False)

    @property
    def topic(self) -> str:
        """Return the topic's name."""
        return self.event.topic

    @property
    def consumers(self) -> tuple[str, ...]:
        """Return groups and broadcasts together."""
        return self.groups + self.broadcasts


FLOW: tuple[Step, ...] = (
    Step(
        "algorithm",
        AlgorithmChanged,
        "algorithm",
        ("gateway",),
        ("runner", "deployer", "gitea-sync"),
        summary="an algorithm was made, changed or archived",
    ),
    Step(
        "push", CodePushed, "repository", ("gitea-sync",), ("deployer",), summary="a branch that deploys has a new head"
    ),
    Step(
        "command",
        ServiceCommand,
        "algorithm",
        ("gateway",),
        ("deployer",),
        summary="start, stop, restart, scale, remove or roll back a service",
    ),
    Step(
        "deploy",
        ReleaseChanged,
        "algorithm",
        ("deployer",),
        ("registry", "gateway"),
        summary="a release changed its state",
    ),
    Step(
        "register",
        InstanceChanged,
        "algorithm",
        ("registry",),
        ("deployer",),
        ("gateway", "worker"),
        summary="an instance came, drains or went",
    ),
    Step(
        "load",
        ServiceLoad,
        "algorithm",
        ("gateway", "worker"),
        ("deployer",),
        paced=False,
        summary="what is open and waiting at a service, each second that there is something",
    ),
    Step(
        "task",
        TaskRequested,
        "idempotency key",
        (ANYBODY,),
        ("runner",),
        partitions=12,
        fast=True,
        public=True,
        summary="the public inlet: somebody asks for a task",
    ),
    Step(
        "accepted",
        TaskAccepted,
        "task id",
        ("runner",),
        partitions=12,
        kept_s=120,
        summary="the task is a committed row",
    ),
    Step(
        "ready",
        TaskReady,
        "algorithm",
        ("runner", "worker"),
        ("worker",),
        partitions=12,
        kept_s=120,
        summary="the doorbell: an algorithm has work that is due",
    ),
    Step(
        "result",
        TaskFinished,
        "task id",
        ("runner", "worker"),
        (),
        ("gateway",),
        partitions=12,
        kept_s=120,
        summary="the task reached its terminal state",
    ),
    Step(
        "dead letter",
        DeadLetter,
        "origin topic",
        SERVICES,
        ("runner",),
        summary="a message that no retry can help, with the reason",
    ),
)

_BY_EVENT = {step.event: step for step in FLOW}


def step_of(event: type[EventData]) -> Step:
    """Return the row of ``event``.

    Raises:
        KeyError: the event is not in the table.
    """
    return _BY_EVENT[event]


def produced_by(service: str) -> tuple[Step, ...]:
    """Return the rows that ``service`` publishes."""
    return tuple(step for step in FLOW if service in step.producers)


def consumed_by(service: str) -> tuple[Step, ...]:
    """Return the rows that ``service`` subscribes to."""
    return tuple(step for step in FLOW if service in step.consumers)
