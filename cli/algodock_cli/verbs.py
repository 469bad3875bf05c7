"""Which verb lives in which module: the one table to which a new verb adds its line.

A verb's module has one function ``command``, whose docstring is its help; what is heavy to import
is imported inside it, because ``algodock VERB`` imports only its own module.
"""

from __future__ import annotations

from dataclasses import dataclass

__all__ = ["VERBS", "Verb"]

_HERE = "The platform on this machine"
_ALGORITHMS = "Algorithms, through the gateway"
_CLIENT = "algodock_cli.client.verbs"


@dataclass(frozen=True)
class Verb:
    """Where a verb is, and under which heading ``--help`` lists it.

    With ``group`` the module has a Typer ``app`` with verbs of its own instead of a function.
    """

    module: str
    panel: str
    takes_any_option: bool = False
    function: str = "command"
    group: bool = False
    hidden: bool = False


VERBS = {
    "up": Verb("algodock_cli.stack.verbs.up", _HERE),
    "down": Verb("algodock_cli.stack.verbs.down", _HERE),
    "status": Verb("algodock_cli.stack.verbs.status", _HERE),
    "logs": Verb("algodock_cli.stack.verbs.logs", _HERE),
    "reset": Verb("algodock_cli.stack.verbs.reset", _HERE),
    "test": Verb("algodock_cli.stack.verbs.test", _HERE, takes_any_option=True),
    "bench": Verb("algodock_cli.stack.verbs.bench", _HERE, takes_any_option=True),
    "demo": Verb("algodock_cli.demo.verb", _HERE),
    "init": Verb(f"{_CLIENT}.init", _ALGORITHMS),
    "deploy": Verb(f"{_CLIENT}.deploy", _ALGORITHMS),
    "services": Verb(f"{_CLIENT}.services", _ALGORITHMS),
    "releases": Verb(f"{_CLIENT}.releases", _ALGORITHMS),
    "timeline": Verb(f"{_CLIENT}.timeline", _ALGORITHMS),
    "metrics": Verb(f"{_CLIENT}.metrics", _ALGORITHMS),
    "build-log": Verb(f"{_CLIENT}.build_log", _ALGORITHMS),
    "predict": Verb(f"{_CLIENT}.predict", _ALGORITHMS),
    "task": Verb(f"{_CLIENT}.task", _ALGORITHMS, group=True),
    "callbacks": Verb(f"{_CLIENT}.callbacks", _ALGORITHMS, group=True),
    "dead-letters": Verb(f"{_CLIENT}.dead_letters", _ALGORITHMS, group=True),
    "start": Verb(f"{_CLIENT}.lifecycle", _ALGORITHMS, function="start"),
    "stop": Verb(f"{_CLIENT}.lifecycle", _ALGORITHMS, function="stop"),
    "restart": Verb(f"{_CLIENT}.lifecycle", _ALGORITHMS, function="restart"),
    "redeploy": Verb(f"{_CLIENT}.lifecycle", _ALGORITHMS, function="redeploy"),
    "remove": Verb(f"{_CLIENT}.lifecycle", _ALGORITHMS, function="remove"),
    "group": Verb(f"{_CLIENT}.group", _ALGORITHMS, group=True),
    "secret": Verb(f"{_CLIENT}.secret", _ALGORITHMS, group=True),
    "scale": Verb(f"{_CLIENT}.scale", _ALGORITHMS),
    "promote": Verb(f"{_CLIENT}.promote", _ALGORITHMS),
    "rollback": Verb(f"{_CLIENT}.rollback", _ALGORITHMS),
    "registry": Verb(f"{_CLIENT}.registry", _ALGORITHMS, group=True),
    "register": Verb(f"{_CLIENT}.register", _ALGORITHMS),
    "login": Verb(f"{_CLIENT}.login", _ALGORITHMS),
    "git-credential": Verb(f"{_CLIENT}.login", _ALGORITHMS, function="git_credential", hidden=True),
    "real": Verb("algodock_cli.real.verb", "For developers"),
    "lock": Verb("algodock_cli.stack.verbs.lock", "For developers"),
}
