"""What algorithm authors import, and what wraps their ``predict`` function into an HTTP service.

Knows nothing of the platform but four environment variables and two URLs. Nothing heavy is
imported here: a service that only registers itself needs the standard library alone.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from algodock_sdk.registration import Registration, RegistrationError, register

if TYPE_CHECKING:
    from algodock_sdk.algorithm import Algorithm, AlgorithmError, load_algorithm
    from algodock_sdk.server import create_app
    from algodock_sdk.talk import progress

__all__ = [
    "Algorithm",
    "AlgorithmError",
    "Registration",
    "RegistrationError",
    "__version__",
    "create_app",
    "load_algorithm",
    "progress",
    "register",
]

__version__ = "0.1.0"

_LATE = {
    "Algorithm": "algodock_sdk.algorithm",
    "AlgorithmError": "algodock_sdk.algorithm",
    "load_algorithm": "algodock_sdk.algorithm",
    "create_app": "algodock_sdk.server",
    "progress": "algodock_sdk.talk",
}


def __getattr__(name: str) -> Any:
    """Import the server's side when it is first asked for (PEP 562)."""
    if name not in _LATE:
        msg = f"module {__name__!r} has no attribute {name!r}"
        raise AttributeError(msg)
    from importlib import import_module

    return getattr(import_module(_LATE[name]), name)
