"""What can go wrong with the stack on this machine, each with what the person can do about it."""

from __future__ import annotations

from algodock_cli.failures import CommandFailed

__all__ = [
    "NoFreePort",
    "NoUserForPostgres",
    "ServerMissing",
    "ServerNotReady",
    "StackBusy",
    "StackError",
    "StackNotRunning",
]


class StackError(CommandFailed):
    """The stack cannot do what it was asked.

    ``StackError``
        ├── ``ServerMissing``      a server's program is not on this machine
        ├── ``ServerNotReady``     a program was started and did not become ready
        ├── ``NoUserForPostgres``  running as root, and no other user can be taken on
        ├── ``NoFreePort``         every port of the range is taken
        ├── ``StackBusy``          another ``up``, ``down`` or ``reset`` works on the same data folder
        └── ``StackNotRunning``    nothing runs for this data folder
    """


class ServerMissing(StackError):
    """A server's program is not on this machine."""

    exit_code = 4


class ServerNotReady(StackError):
    """A program did not become ready in time; the message ends with the tail of its log."""

    exit_code = 5


class NoUserForPostgres(StackError):
    """PostgreSQL refuses to run as root, and neither another user nor a user namespace can be had."""

    exit_code = 4


class NoFreePort(StackError):
    """Every port of the range is taken."""

    exit_code = 6


class StackBusy(StackError):
    """Another command works on the same data folder."""

    exit_code = 7


class StackNotRunning(StackError):
    """Nothing runs for this data folder."""

    exit_code = 3
