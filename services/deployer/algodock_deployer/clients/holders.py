"""Who has a port of this machine: found by its listener, else by trying to bind it."""

from __future__ import annotations

import errno
import socket
from typing import Any

import psutil

__all__ = ["holder_of"]

EVERYWHERE = frozenset({"0.0.0.0", "::"})  # noqa: S104  # compared with, not bound
SOMEBODY = "another program"


def holder_of(host: str, port: int, token: str = "") -> str:
    """Return a listener's name and process id, ``another program`` where neither can be seen, or an empty string.

    What carries ``token`` as ``ALGODOCK_TOKEN`` is the asker's own and no holder.
    """
    try:
        connections: list[Any] = psutil.net_connections(kind="tcp")
    except psutil.AccessDenied:
        connections = []
    for one in connections:
        if one.status == psutil.CONN_LISTEN and one.laddr.port == port and _meet(one.laddr.ip, host):
            return _named(one.pid, token)
    return SOMEBODY if not token and _bound(host, port) else ""


def _meet(listens: str, host: str) -> bool:
    return listens.removeprefix("::ffff:") == host or listens in EVERYWHERE or host in EVERYWHERE


def _named(pid: int | None, token: str) -> str:
    if pid is None:
        return SOMEBODY
    try:
        process = psutil.Process(pid)
        if token and process.environ().get("ALGODOCK_TOKEN") == token:
            return ""
        return f"{process.name()} (process {pid})"
    except psutil.Error:  # it ended, or belongs to somebody else
        return SOMEBODY


def _bound(host: str, port: int) -> bool:
    """Return whether a server that sets SO_REUSEADDR could not bind the port; lingering connections do not count."""
    with socket.socket(socket.AF_INET6 if ":" in host else socket.AF_INET) as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((host, port))
        except OSError as error:
            return error.errno == errno.EADDRINUSE
    return False
