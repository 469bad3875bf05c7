"""The embedded servers: real programs out of wheels, each declared by one module with the URL that replaces it."""

from algodock_cli.stack.servers.base import EmbeddedServer, ServerContext, embedded_servers

__all__ = ["EmbeddedServer", "ServerContext", "embedded_servers"]
