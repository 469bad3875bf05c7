"""The registry's tables and all of its SQL."""

from algodock_registry.repository.instances import Beat, Instances
from algodock_registry.repository.models import Instance, PortCursor, PortLease, RoutingEpoch
from algodock_registry.repository.ports import Ports

__all__ = ["Beat", "Instance", "Instances", "PortCursor", "PortLease", "Ports", "RoutingEpoch"]
