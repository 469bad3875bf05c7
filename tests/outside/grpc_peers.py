"""A real gRPC server for tests, its messages bytes: it echoes, says who it is, and tells its health."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from concurrent import futures
from contextlib import contextmanager
from typing import Any

import grpc

__all__ = ["EACH", "ECHO", "FAIL", "HANG", "HEALTH", "NOT_SERVING", "SERVING", "WHO", "GrpcPeer"]

ECHO, WHO, HANG, FAIL, EACH = (f"/demo.Echo/{method}" for method in ("Say", "Who", "Hang", "Fail", "SayEach"))
HEALTH = "/grpc.health.v1.Health/Check"
SERVING, NOT_SERVING = b"\x08\x01", b"\x08\x02"


class GrpcPeer(grpc.GenericRpcHandler):  # type: ignore[misc]  # published without types
    """``health`` is what it answers for each service; without any it has no health service."""

    def __init__(self, name: str, health: dict[str, bytes] | None) -> None:
        self.name = name
        self.health = health
        self.port = 0
        self.seen: list[tuple[str, dict[str, str]]] = []
        self.hanging = threading.Semaphore(0)
        self.let_go = threading.Event()

    @classmethod
    @contextmanager
    def listening(
        cls, name: str = "one", *, health: dict[str, bytes] | None = None, port: int = 0
    ) -> Iterator[GrpcPeer]:
        """Listen on the loopback address until the block ends."""
        peer = cls(name, health)
        server = grpc.server(futures.ThreadPoolExecutor(8), options=[("grpc.so_reuseport", 0)])
        server.add_generic_rpc_handlers((peer,))
        peer.port = server.add_insecure_port(f"127.0.0.1:{port}")
        server.start()
        try:
            yield peer
        finally:
            peer.let_go.set()
            server.stop(0).wait()

    @property
    def url(self) -> str:
        return f"grpc://127.0.0.1:{self.port}"

    def service(self, call: Any) -> Any:
        """Find the method of a call."""
        if call.method != HEALTH:
            self.seen.append((call.method, dict(call.invocation_metadata)))
        if call.method == EACH:
            return grpc.stream_stream_rpc_method_handler(lambda words, _: words)
        methods = {ECHO: lambda said, _: said, WHO: lambda *_: self.name.encode(), HANG: self._hang, FAIL: _fail}
        if self.health is not None:
            methods[HEALTH] = self._check
        found = methods.get(call.method)
        return None if found is None else grpc.unary_unary_rpc_method_handler(found)

    def _check(self, request: bytes, context: Any) -> bytes:
        answer = (self.health or {}).get(request[2:].decode())
        if answer is None:
            context.abort(grpc.StatusCode.NOT_FOUND, "unknown service")
            raise AssertionError
        return answer

    def _hang(self, request: bytes, _context: Any) -> bytes:
        self.hanging.release()
        self.let_go.wait(60)
        return request


def _fail(_request: bytes, context: Any) -> bytes:
    context.abort(grpc.StatusCode.INVALID_ARGUMENT, "no such word")
    raise AssertionError
