"""Runs an algorithm as a program: its logs, its heartbeat, its server."""

from __future__ import annotations

import logging
import logging.handlers
import os
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from algodock_sdk.algorithm import Algorithm

__all__ = ["serve", "set_up_logging"]

_GRACE_S = 8  # calls in flight may end; whoever stops us kills after 10


def serve(algorithm: Algorithm, *, host: str, port: int) -> int:
    """Serve until stopped; return the exit code: 1 when the server could not start."""
    import uvicorn

    from algodock_sdk.heartbeat import Heartbeat, Load
    from algodock_sdk.server import create_app

    load = Load()
    config = uvicorn.Config(
        create_app(algorithm, Heartbeat.from_environment(load), load),
        host=host,
        port=port,
        log_config=None,
        access_log=False,
        lifespan="on",
        ws="none",
        timeout_graceful_shutdown=_GRACE_S,
        timeout_keep_alive=75,  # longer than a proxy keeps its idle connections, so that it closes them, not we
    )
    server = uvicorn.Server(config)
    server.run()
    return 0 if server.started else 1


def set_up_logging() -> None:
    """Log to stderr from INFO, and where ``ALGODOCK_DEBUG_LOG`` names a file, everything to that (10 MB, 5 backups)."""
    line = logging.Formatter("%(asctime)s %(levelname)s %(name)s: %(message)s")
    root = logging.getLogger()
    root.setLevel(logging.INFO)
    stderr = logging.StreamHandler()
    stderr.setLevel(logging.INFO)
    stderr.setFormatter(line)
    root.addHandler(stderr)
    debug_log = os.environ.get("ALGODOCK_DEBUG_LOG")
    if debug_log:
        file = logging.handlers.RotatingFileHandler(debug_log, maxBytes=10 * 2**20, backupCount=5, encoding="utf-8")
        file.setFormatter(line)
        root.addHandler(file)
        root.setLevel(logging.DEBUG)
