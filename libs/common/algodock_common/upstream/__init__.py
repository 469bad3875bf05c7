"""HTTP/1.1 to algorithms, services and the object store where each request counts: connections and their pool."""

from algodock_common.upstream.connection import Connection
from algodock_common.upstream.errors import (
    AnswerTooLate,
    BadAnswer,
    CallerGone,
    CannotConnect,
    ConnectionBroke,
    UpstreamError,
)
from algodock_common.upstream.exchange import exchange
from algodock_common.upstream.pool import Origin, Pool

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
    "exchange",
]
