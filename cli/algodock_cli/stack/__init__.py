"""The stack on this machine: embedded servers, services and workers under one supervisord of the project's own.

Names are imported late: a verb that needs one of them does not pay for the others.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from algodock_cli.stack.embedded import EmbeddedServers
    from algodock_cli.stack.errors import StackError

__all__ = ["EmbeddedServers", "StackError"]


def __getattr__(name: str) -> object:
    """Import a public name when it is first asked for."""
    if name == "EmbeddedServers":
        from algodock_cli.stack.embedded import EmbeddedServers  # late on purpose

        return EmbeddedServers
    if name == "StackError":
        from algodock_cli.stack.errors import StackError

        return StackError
    raise AttributeError(name)
