"""What every use case of the registry works with."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from datetime import timedelta

    from algodock_common.database import Database
    from algodock_registry.clients import BindTest, DeployerView, HealthProbe
    from algodock_registry.domain import InstanceTokens, PortRange

__all__ = ["Context"]


@dataclass(frozen=True, slots=True)
class Context:
    """The dependencies of the handlers, wired once in ``main``.

    ``own_addresses`` are host and port of the platform itself; ``interval`` is the time between two
    looks at an instance. ``turns`` lets leases wait for each other here, and not with a connection of the pool each.
    """

    database: Database
    node_id: str
    port_range: PortRange
    own_addresses: frozenset[tuple[str, int]]
    interval: timedelta
    tokens: InstanceTokens
    bind_test: BindTest
    probe: HealthProbe
    deployer: DeployerView
    turns: asyncio.Lock = field(default_factory=asyncio.Lock)
