"""The registry's rules. Pure: no clock, no socket, no row.

Handlers feed it what they read and write down what it answers.
"""

from algodock_registry.domain.errors import (
    LastInstance,
    PortRangeExhausted,
    PortTaken,
    UnknownName,
    WrongInstanceToken,
)
from algodock_registry.domain.external import ExternalAddress
from algodock_registry.domain.lifecycle import (
    ENDED_RELEASES,
    MISSED_LIMIT,
    Seen,
    Transition,
    after_failed_look,
    after_life_sign,
    may_become,
    plan_release,
)
from algodock_registry.domain.ports import PortRange
from algodock_registry.domain.repair import Deployed, plan_repair
from algodock_registry.domain.tokens import InstanceTokens

__all__ = [
    "ENDED_RELEASES",
    "MISSED_LIMIT",
    "Deployed",
    "ExternalAddress",
    "InstanceTokens",
    "LastInstance",
    "PortRange",
    "PortRangeExhausted",
    "PortTaken",
    "Seen",
    "Transition",
    "UnknownName",
    "WrongInstanceToken",
    "after_failed_look",
    "after_life_sign",
    "may_become",
    "plan_release",
    "plan_repair",
]
