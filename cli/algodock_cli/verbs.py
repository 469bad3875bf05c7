"""Which verb lives in which module: the one table to which a new verb adds its line.

A verb's module has one function ``command``, whose docstring is its help; what is heavy to import
is imported inside it, because ``algodock VERB`` imports only its own module.
"""

from __future__ import annotations

from dataclasses import dataclass

__all__ = ["VERBS", "Verb"]

_HERE = "The platform on this machine"


@dataclass(frozen=True)
class Verb:
    """Where a verb is, and under which heading ``--help`` lists it."""

    module: str
    panel: str
    takes_any_option: bool = False


VERBS = {
    "up": Verb("algodock_cli.stack.verbs.up", _HERE),
    "down": Verb("algodock_cli.stack.verbs.down", _HERE),
    "status": Verb("algodock_cli.stack.verbs.status", _HERE),
    "logs": Verb("algodock_cli.stack.verbs.logs", _HERE),
    "reset": Verb("algodock_cli.stack.verbs.reset", _HERE),
    "test": Verb("algodock_cli.stack.verbs.test", _HERE, takes_any_option=True),
    "bench": Verb("algodock_cli.stack.verbs.bench", _HERE, takes_any_option=True),
    "real": Verb("algodock_cli.real.verb", "For developers"),
    "lock": Verb("algodock_cli.stack.verbs.lock", "For developers"),
}
