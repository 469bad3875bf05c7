"""Is a port of this machine free? Asked by binding it, the way the server that gets it will."""

from __future__ import annotations

import errno
import socket
from typing import Protocol

from algodock_common.errors import InvalidInput

__all__ = ["BindTest", "FakeBindTest", "SocketBindTest"]


class BindTest(Protocol):
    """Says whether a server could bind a port."""

    def free(self, host: str, port: int, *, lingering: bool) -> bool:
        """Say whether ``host:port`` can be bound now.

        With ``lingering`` a port counts as free although connections of an ended server linger on
        it (TIME_WAIT).

        Raises:
            InvalidInput: ``host`` is no address of this machine.
        """
        ...


class SocketBindTest:
    """Binds for a moment.

    A server that sets SO_REUSEADDR (asyncio's, Node's and Go's do) may bind over lingering
    connections, one that does not may not. So a port that we choose must pass without the option,
    and any server can have it; a port that was asked for by number passes as the usual servers
    do, or a pinned service could not be restarted for a minute. Neither passes while anybody
    listens on it, on this address or on all.
    """

    def free(self, host: str, port: int, *, lingering: bool) -> bool:
        """Say whether ``host:port`` can be bound now."""
        try:
            family, kind, protocol, _, address = socket.getaddrinfo(
                host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE | socket.AI_NUMERICHOST
            )[0]
        except socket.gaierror as error:
            raise InvalidInput(f"{host!r} is no IP address to listen on") from error
        with socket.socket(family, kind, protocol) as probe:
            if lingering:
                probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            try:
                probe.bind(address)
            except OSError as error:
                if error.errno == errno.EADDRNOTAVAIL:
                    raise InvalidInput(f"{host} is no address of this machine") from error
                return False
        return True


class FakeBindTest:
    """A machine whose ports in use are told; ``lingering_on`` are those in TIME_WAIT."""

    def __init__(self, used: set[int] | None = None, lingering_on: set[int] | None = None) -> None:
        """Begin with these ports in use."""
        self.used = used or set()
        self.lingering_on = lingering_on or set()

    def free(self, host: str, port: int, *, lingering: bool) -> bool:
        """Say whether the port is in neither set that counts."""
        del host
        return port not in self.used and (lingering or port not in self.lingering_on)
