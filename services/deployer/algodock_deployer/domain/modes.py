"""``deployment.mode``: which driver runs a service's programs, for all of them and for one."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field

__all__ = ["MODES", "Modes", "modes_of"]

MODES = ("supervisor", "local", "docker")
_SYSTEM = ("ALGODOCK_DEPLOYMENT_MODE", "DEPLOYMENT_MODE")
_SERVICE = re.compile(r"^ALGODOCK_SERVICE_(.+)_DEPLOYMENT_MODE$")


@dataclass(frozen=True)
class Modes:
    """The system's mode, and those of services that have one of their own, by ``NAME_IN_CAPITALS``."""

    default: str = MODES[0]
    services: Mapping[str, str] = field(default_factory=dict)

    def of(self, service: str) -> str:
        """Return the mode of the service of this name."""
        return self.services.get(service.upper().replace("-", "_"), self.default)

    @property
    def used(self) -> frozenset[str]:
        """Return every mode that something says."""
        return frozenset({self.default, *self.services.values()})


def modes_of(environment: Mapping[str, str]) -> Modes:
    """Read the modes from the environment; what is set to nothing is not set.

    Raises:
        ValueError: a variable names a mode that there is none of; it says which, and what there is.
    """
    found: dict[str, str] = {}
    for name, value in environment.items():
        match = _SERVICE.match(name)
        if value.strip() and (match or name in _SYSTEM):
            found[name] = _known(name, value.strip())
    default = next((found[name] for name in _SYSTEM if name in found), MODES[0])
    return Modes(default, {match[1]: mode for name, mode in found.items() if (match := _SERVICE.match(name))})


def _known(name: str, value: str) -> str:
    if value not in MODES:
        raise ValueError(f"{name}={value} is no deployment mode; there are {', '.join(MODES)}")
    return value
