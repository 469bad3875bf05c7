"""The servers below the platform, each declared by one module; ``embedded`` makes the one out of a wheel."""

from algodock_cli.stack.servers.base import VARIABLES, MakeServer, Server, ServerContext, embedded_servers

__all__ = ["VARIABLES", "MakeServer", "Server", "ServerContext", "embedded_servers"]
