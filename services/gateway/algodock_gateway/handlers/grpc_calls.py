"""Calls that come by the gRPC edge: the edge asks here whether one may pass, and the answer is what is recorded."""

from __future__ import annotations

import asyncio
import time
from typing import TYPE_CHECKING, Final

from prometheus_client import Counter

from algodock_common.errors import AlgoDockError
from algodock_gateway.domain import AlgorithmUnknown, KeyRefused, NoInstance
from algodock_gateway.domain.call import CallRecord
from algodock_gateway.domain.keys import bearer

if TYPE_CHECKING:
    from algodock_gateway.domain.algorithm import Algorithm
    from algodock_gateway.domain.keys import ApiKey
    from algodock_gateway.handlers.call_book import CallBook
    from algodock_gateway.handlers.calls import CallDesk
    from algodock_gateway.handlers.directory import Directory
    from algodock_gateway.handlers.key_ring import KeyRing

__all__ = ["GRPC_METHOD", "GrpcCalls"]

GRPC_METHOD: Final = "GRPC"
"""What stands as the method in the record of a gRPC call; its path is ``/<package.Service>/<Method>``."""
GRPC_CALLS = Counter("algodock_grpc_calls_total", "Calls at the gRPC edge by what was decided", ("algorithm", "status"))
_PATH_KEPT: Final = 200


class GrpcCalls:
    """Authorises and records each call, and tells how a service is."""

    def __init__(self, keys: KeyRing, directory: Directory, desk: CallDesk, book: CallBook) -> None:
        """Join what is needed."""
        self._keys = keys
        self._directory = directory
        self._desk = desk
        self._book = book
        self._woken: set[asyncio.Task[None]] = set()

    async def admit(self, name: str, method: str, authorization: str | None) -> None:
        """Let a call pass, or not; either way it is recorded. A service that sleeps is woken.

        Raises:
            KeyRefused: there is no valid key with it.
            AlgorithmUnknown: there is no algorithm of this name.
            NoInstance: nothing of it is ready.
        """
        began, started_at = time.perf_counter(), time.time()
        key: ApiKey | None = None
        algorithm: Algorithm | None = None
        error: AlgoDockError | None = None
        try:
            key = await self._keys.find(bearer(authorization.encode("latin-1")) if authorization else None)
            if key is None:
                raise KeyRefused
            algorithm = await self._directory.find(name)
            await self._ready(name, algorithm)
        except AlgoDockError as refused:
            error = refused
            raise
        finally:
            status = error.status if error is not None else 200
            known = name if algorithm is not None else ""
            GRPC_CALLS.labels(known, str(status)).inc()
            self._book.keep(
                CallRecord(
                    started_at,
                    int((time.perf_counter() - began) * 1e6),
                    known,
                    algorithm.id if algorithm is not None else None,
                    None,
                    None,
                    key.id if key is not None else None,
                    GRPC_METHOD,
                    method[:_PATH_KEPT],
                    status,
                    error.code if error is not None else None,
                    0,
                    0,
                    None,
                )
            )

    async def health(self, name: str) -> int:
        """Return how many instances of a service take calls.

        Raises:
            AlgorithmUnknown: there is no algorithm of this name.
            NoInstance: none does.
        """
        route = self._desk.table.route(name)
        if route is not None and route.ready:
            return len(route.ready)
        if await self._directory.find(name) is None:
            raise AlgorithmUnknown(name)
        raise NoInstance(name)

    async def _ready(self, name: str, algorithm: Algorithm | None) -> None:
        if self._is_ready(name):
            return
        if algorithm is None:
            raise AlgorithmUnknown(name)
        # The call itself goes by the routes that the edge has now, so waiting would not help it; its next try will.
        task = asyncio.create_task(self._desk.waking.wait(name), name=f"wake-for-grpc-{name}")
        self._woken.add(task)
        task.add_done_callback(self._woken.discard)
        raise NoInstance(name)

    def _is_ready(self, name: str) -> bool:
        route = self._desk.table.route(name)
        return route is not None and bool(route.ready)
