"""HTTP/1.1 to algorithms and services, for calls that are streamed through: connections and their pool."""

from algodock_gateway.clients.upstream.connection import Connection
from algodock_gateway.clients.upstream.errors import (
    AnswerTooLate,
    BadAnswer,
    CallerGone,
    CannotConnect,
    ConnectionBroke,
    UpstreamError,
)
from algodock_gateway.clients.upstream.pool import Origin, Pool

__all__ = [
    "AnswerTooLate",
    "BadAnswer",
    "CallerGone",
    "CannotConnect",
    "Connection",
    "ConnectionBroke",
    "Origin",
    "Pool",
    "UpstreamError",
]
