"""The servers below the platform, each declared by one module; ``embedded`` makes the one out of a wheel."""

from algodock_cli.stack.servers.base import OBJECTS_NICE, VARIABLES, MakeServer, Server, ServerContext, embedded_servers

__all__ = ["OBJECTS_NICE", "VARIABLES", "MakeServer", "Server", "ServerContext", "embedded_servers"]
