"""Kafka in: what the deployer says of its releases."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING

from algodock_common.events import ReleaseChanged
from algodock_registry import handlers

if TYPE_CHECKING:
    from algodock_common.messaging import Bus

__all__ = ["subscribe"]


def subscribe(bus: Bus, context: handlers.Context) -> None:
    """Take everything that the flow table gives to the registry."""
    bus.subscribe(ReleaseChanged, partial(handlers.apply_release, context))
