"""Runs a service's application: uvicorn on uvloop and httptools, one process, logs by structlog."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, Literal

if TYPE_CHECKING:
    import asyncio

    from starlette.types import ASGIApp

    from algodock_common.web.app import WebSettings

__all__ = ["serve"]

GRACE_S: Final = 8  # below supervisord's stopwaitsecs, so that a stop ends by itself
KEEP_ALIVE_S: Final = 30  # above the clients' keep-alive: a pooled connection is closed by its client


def serve(
    app: ASGIApp,
    settings: WebSettings,
    *,
    websockets: bool = False,
    proxy_headers: bool = True,
    http: type[asyncio.Protocol] | Literal["httptools"] = "httptools",
) -> None:
    """Serve ``app`` until SIGTERM or SIGINT; open requests then have eight seconds to end.

    Without ``proxy_headers`` the application sees the peer itself, and reads ``X-Forwarded-*`` as it sees fit.
    ``http`` is the protocol that serves a connection.
    """
    import uvicorn  # late: tests and tools that build the application do not serve it

    uvicorn.run(
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
