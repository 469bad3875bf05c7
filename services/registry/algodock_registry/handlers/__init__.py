"""What the registry does: register, hear beats, look at health, follow releases, repair."""

from algodock_registry.handlers.beats import BeatBook
from algodock_registry.handlers.context import Context
from algodock_registry.handlers.health import look
from algodock_registry.handlers.reading import discover, find_instances, routes
from algodock_registry.handlers.registration import (
    ExternalService,
    NewInstance,
    Registered,
    register,
    register_external,
    remove,
)
from algodock_registry.handlers.releases import apply_release
from algodock_registry.handlers.repair import Repair
from algodock_registry.handlers.weighing import weigh

__all__ = [
    "BeatBook",
    "Context",
    "ExternalService",
    "NewInstance",
    "Registered",
    "Repair",
    "apply_release",
    "discover",
    "find_instances",
    "look",
    "register",
    "register_external",
    "remove",
    "routes",
    "weigh",
]
