"""Kafka in: pushes, commands, algorithms as they come, and what became of instances."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING

from algodock_common.events import AlgorithmChanged, CodePushed, InstanceChanged, ServiceCommand, ServiceLoad
from algodock_deployer import handlers

if TYPE_CHECKING:
    from algodock_common.messaging import Bus

__all__ = ["subscribe"]


def subscribe(bus: Bus, context: handlers.Context) -> None:
    """Take everything that the flow table gives to the deployer."""
    bus.subscribe(CodePushed, partial(handlers.take_push, context))
    bus.subscribe(ServiceCommand, partial(handlers.take_command, context))
    bus.subscribe(AlgorithmChanged, partial(handlers.take_algorithm, context))
    bus.subscribe(InstanceChanged, partial(handlers.take_instance, context))
    bus.subscribe(ServiceLoad, partial(handlers.take_load, context))
