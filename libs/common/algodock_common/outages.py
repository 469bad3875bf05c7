"""What an exception that nobody typed says about the servers and the machine: away, short of something, or neither.

Consumers, the HTTP edge and the loops that keep a service going ask here whether to try again.
"""

from __future__ import annotations

import errno
import re
import socket
import ssl

from algodock_common.errors import AlgoDockError

__all__ = ["is_infrastructure", "is_shortage", "is_unstorable"]

_SERVER_AWAY = frozenset({"08", "53", "57"})
"""Classes of SQLSTATE: terminating connection, too many connections, starting up (PostgreSQL's appendix A)."""

_COLLISIONS = frozenset({"40001", "40P01", "55P03"})
"""SQLSTATEs of transactions that got in each other's way: serialization, deadlock, a lock that was not free."""

_NO_TEXTS = frozenset({"22021", "22P05"})
"""SQLSTATEs of texts that PostgreSQL does not take: a zero byte, or bytes of no character."""

_UNREACHABLE = frozenset(
    {
        errno.ECONNABORTED,
        errno.ECONNREFUSED,
        errno.ECONNRESET,
        errno.EHOSTDOWN,
        errno.EHOSTUNREACH,
        errno.ENETDOWN,
        errno.ENETRESET,
        errno.ENETUNREACH,
        errno.ENOTCONN,
        errno.EPIPE,
        errno.ESHUTDOWN,
        errno.ETIMEDOUT,
    }
)

_SHORT = frozenset(
    {
        errno.EADDRNOTAVAIL,  # a connect has no port left to start from
        errno.EAGAIN,
        errno.EBUSY,
        errno.EDQUOT,
        errno.EMFILE,
        errno.ENFILE,
        errno.ENOBUFS,
        errno.ENOMEM,
        errno.ENOSPC,
    }
)

_SEVERAL = "Multiple exceptions: "
_NUMBER = re.compile(r"\[Errno (\d+)\]")


def is_infrastructure(error: BaseException) -> bool:
    """Return whether ``error`` says that a server (PostgreSQL, or whatever a socket led to) is away.

    That is nobody's fault and passes, so the same work is tried again without a limit. A missing
    file, a refused permission or a full disk is no absent server.
    """
    if isinstance(error, AlgoDockError):
        return False
    if isinstance(error, OSError):
        return _unreachable(error)
    from sqlalchemy.exc import DBAPIError, InterfaceError, OperationalError  # heavy, rarely needed
    from sqlalchemy.exc import TimeoutError as PoolTimeoutError

    if isinstance(error, OperationalError | InterfaceError | PoolTimeoutError):
        return True
    if isinstance(error, DBAPIError):
        return error.connection_invalidated or _sqlstate(error)[:2] in _SERVER_AWAY
    return type(error).__module__.startswith("asyncpg") and (_sqlstate(error) or "08")[:2] in _SERVER_AWAY


def is_shortage(error: BaseException) -> bool:
    """Return whether ``error`` may pass by itself, but shall not be waited for without end.

    The machine is short of open files, memory or disk, or two transactions got in each other's way.
    """
    if isinstance(error, MemoryError):
        return True
    if isinstance(error, OSError):
        return error.errno in _SHORT
    return _sqlstate(error) in _COLLISIONS


def is_unstorable(error: BaseException) -> bool:
    """Return whether PostgreSQL refused a text that it can neither keep nor look for: a zero byte, half a character."""
    return _sqlstate(error) in _NO_TEXTS


def _unreachable(error: OSError) -> bool:
    """Judge by type, by the system's number, and where there is none by what the error was made from."""
    if isinstance(error, ConnectionError | TimeoutError | socket.gaierror | ssl.SSLEOFError | ssl.SSLZeroReturnError):
        return True
    if error.errno in _UNREACHABLE:
        return True
    if isinstance(error, FileNotFoundError):
        return error.errno == errno.ENOENT and error.filename is None  # connect() to a Unix socket: open() names one
    if error.errno is None and str(error).startswith(_SEVERAL):  # asyncio's, when a host's addresses fail differently
        return any(int(number) in _UNREACHABLE for number in _NUMBER.findall(str(error)))
    if error.errno is None or error.errno < 0:  # no system's number: aiohttp's for a name, anyio's
        return isinstance(error.__cause__, OSError) and _unreachable(error.__cause__)
    return False


def _sqlstate(error: BaseException) -> str:
    return getattr(getattr(error, "orig", error), "sqlstate", None) or ""
