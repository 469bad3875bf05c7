"""Runs a service's application: uvicorn on uvloop and httptools, one process, logs by structlog."""

from __future__ import annotations

import contextlib
import gc
import sys
from typing import TYPE_CHECKING, Final, Literal

from algodock_common.scheduling import yield_to_calls
from algodock_common.web.stopping import stopping

if TYPE_CHECKING:
    import asyncio
    import socket

    from starlette.types import ASGIApp

    from algodock_common.web.app import WebSettings

__all__ = ["serve"]

GRACE_S: Final = 8  # below supervisord's stopwaitsecs, so that a stop ends by itself
COLLECT_AFTER: Final = 10_000
"""Objects made and not yet freed after which the garbage collector looks at the youngest. A request
leaves next to none in cycles, so that the interpreter's own 700 only look at what is in use."""
STARTUP_FAILED: Final = 3
"""The exit code when the application did not start, as uvicorn's own command has it."""
KEEP_ALIVE_S: Final = 30  # above the clients' keep-alive: a pooled connection is closed by its client


def serve(
    app: ASGIApp,
    settings: WebSettings,
    *,
    websockets: bool = False,
    proxy_headers: bool = True,
    http: type[asyncio.Protocol] | Literal["httptools"] = "httptools",
    background: bool = False,
) -> None:
    """Serve ``app`` until SIGTERM or SIGINT; open requests then have eight seconds to end.

    Without ``proxy_headers`` the application sees the peer itself, and reads ``X-Forwarded-*`` as it sees fit.
    ``http`` is the protocol that serves a connection. What serves in the ``background`` yields to the calls of others.
    """
    import uvicorn  # late: tests and tools that build the application do not serve it

    gc.set_threshold(COLLECT_AFTER)
    if background:
        yield_to_calls()

    class Server(uvicorn.Server):
        async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
            stopping()
            await super().shutdown(sockets)

    config = uvicorn.Config(
        app,
        host=settings.http.host,
        port=settings.http.port,
        loop="uvloop",
        http=http,
        ws="auto" if websockets else "none",
        lifespan="on",
        log_config=None,
        access_log=False,
        server_header=False,
        proxy_headers=proxy_headers,
        timeout_keep_alive=KEEP_ALIVE_S,
        timeout_graceful_shutdown=GRACE_S,
    )
    server = Server(config)
    with contextlib.suppress(KeyboardInterrupt):
        server.run()
    if not server.started:
        sys.exit(STARTUP_FAILED)
