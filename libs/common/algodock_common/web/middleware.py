"""The outermost ring of every FastAPI service: trace, metrics, and the last resort for exceptions."""

from __future__ import annotations

from functools import lru_cache
from time import perf_counter
from typing import TYPE_CHECKING

from algodock_common.observability.metrics import HTTP_SERVER_SECONDS
from algodock_common.observability.tracing import span
from algodock_common.web.last_resort import answered

if TYPE_CHECKING:
    from prometheus_client import Histogram
    from starlette.types import ASGIApp, Receive, Scope, Send

__all__ = ["RequestMiddleware"]

# Asked for every few seconds by whoever watches; traces of it would bury the rest.
_QUIET = frozenset({"/health", "/ready", "/metrics", "/api/health"})
_SERVER_ERROR = 500


class RequestMiddleware:
    """Opens the server span from the ``traceparent`` header, times the request, hides tracebacks.

    Paths in ``untraced`` prefixes are passed through untouched: their handler is raw ASGI and does
    all this itself.
    """

    def __init__(self, app: ASGIApp, *, untraced: tuple[str, ...] = ()) -> None:
        """Wrap ``app``."""
        self._app = app
        self._untraced = untraced

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one request."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        path: str = scope["path"]
        if path in _QUIET or (self._untraced and path.startswith(self._untraced)):
            await self._answered(scope, receive, send)
            return
        method: str = scope["method"]
        started = perf_counter()
        with span(method, parent=_header(scope, b"traceparent"), kind="server") as handle:
            status = await self._answered(scope, receive, send)
            route = getattr(scope.get("route"), "path", None) or "unmatched"
            if handle.recording:
                handle.name = f"{method} {route}"
                handle.set(
                    http__request__method=method,
                    http__route=route,
                    http__response__status_code=status,
                    url__path=path,
                )
                if status >= _SERVER_ERROR:
                    handle.fail(f"HTTP {status}")
        _timer(method, route, status).observe(perf_counter() - started)

    async def _answered(self, scope: Scope, receive: Receive, send: Send) -> int:
        return await answered(scope, receive, send, lambda noting: self._app(scope, receive, noting))


@lru_cache(maxsize=1024)
def _timer(method: str, route: str, status: int) -> Histogram:
    """Return the labelled metric; finding it anew would cost more than using it."""
    return HTTP_SERVER_SECONDS.labels(method, route, str(status))


def _header(scope: Scope, name: bytes) -> str | None:
    for key, value in scope["headers"]:
        if key == name:
            text: str = value.decode("latin-1")
            return text
    return None
