"""``grpc.health.v1`` asked by deployer and registry: is a gRPC service well?

The two messages of that protocol are one field each, written here by hand; grpcio is imported with the first
question, so that a platform without gRPC services never carries it.
"""

from __future__ import annotations

import asyncio
from typing import Final, NamedTuple
from urllib.parse import urlsplit

__all__ = ["GRPC", "GrpcHealth", "ask_grpc_health"]

GRPC: Final = "grpc"
"""The scheme of a base URL whose instance speaks gRPC: ``grpc://host:port``."""

_CHECK: Final = "/grpc.health.v1.Health/Check"
_STATUS: Final = ("UNKNOWN", "SERVING", "NOT_SERVING", "SERVICE_UNKNOWN")
_NO_SUCH: Final = frozenset({"UNIMPLEMENTED", "NOT_FOUND"})
_OPTIONS: Final = (
    ("grpc.enable_http_proxy", 0),
    # Each question tries by itself: a shared connection would wait out its last failure before it tries again.
    ("grpc.use_local_subchannel_pool", 1),
)
_SERVICE_FIELD: Final = b"\x0a"
_STATUS_FIELD: Final = b"\x08"
_LONGEST_NAME: Final = 127


class GrpcHealth(NamedTuple):
    """What a question found: ``said`` in the protocol's own words.

    ``missing``: the program answers, and has no health service, or none of the name that was asked for.
    ``answered``: something that speaks gRPC answered.
    """

    well: bool
    said: str
    answered: bool
    missing: bool = False


async def ask_grpc_health(url: str, *, timeout_s: float) -> GrpcHealth:
    """Ask ``grpc://host:port/<service>`` once; without a service it is the server as a whole that is asked for.

    Never raises for what the instance does. Source: https://github.com/grpc/grpc/blob/master/doc/health-checking.md.
    """
    import grpc
    import grpc.aio

    address = urlsplit(url)
    name = address.path.strip("/").encode()[:_LONGEST_NAME]
    request = _SERVICE_FIELD + bytes([len(name)]) + name if name else b""
    try:
        async with (
            asyncio.timeout(timeout_s + 1),  # grpcio keeps the deadline; this bounds what it does around the call
            grpc.aio.insecure_channel(address.netloc, options=_OPTIONS) as channel,
        ):
            answer: bytes = await channel.unary_unary(_CHECK)(request, timeout=timeout_s)
    except grpc.aio.AioRpcError as error:
        code = error.code().name
        said = f"{code}: {error.details()}" if error.details() else code
        return GrpcHealth(well=False, said=said, answered=code in _NO_SUCH, missing=code in _NO_SUCH)
    except (TimeoutError, OSError, UnicodeError, ValueError) as error:
        return GrpcHealth(well=False, said=f"{type(error).__name__}: {error}".rstrip(": "), answered=False)
    number = answer[1] if answer[:1] == _STATUS_FIELD and len(answer) > 1 else 0
    said = _STATUS[number] if number < len(_STATUS) else f"status {number}"
    return GrpcHealth(well=said == "SERVING", said=said, answered=True)
