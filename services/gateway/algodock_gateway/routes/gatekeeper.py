"""Where identity comes in: one ASGI middleware that finds out who asks, one dependency that routes name."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Final

from fastapi import Depends, Request
from fastapi.security import HTTPBearer

from algodock_common.web import problem_response
from algodock_gateway.domain import KeyRefused
from algodock_gateway.domain.keys import ApiKey, bearer
from algodock_gateway.routes.headers import header_of

if TYPE_CHECKING:
    from starlette.types import ASGIApp, Receive, Scope, Send

    from algodock_gateway.handlers.key_ring import KeyRing

__all__ = ["Caller", "Gatekeeper"]

OPEN: Final = frozenset(
    {
        "/api/health",
        "/health",
        "/ready",
        "/docs",
        "/redoc",
        "/openapi.json",
        "/asyncapi",
        "/asyncapi.json",
        "/favicon.ico",
    }
)
"""Health and documents; webhooks and heartbeats show other credentials and do not come by here."""

OPEN_PREFIXES: Final = ("/docs/assets/", "/internal/")
"""Internal routes ask for the service token themselves."""


class Gatekeeper:
    """Lets a request with a valid key through, and notes whose it is in ``request.state.api_key``."""

    def __init__(self, app: ASGIApp, *, keys: KeyRing) -> None:
        """Wrap ``app``."""
        self._app = app
        self._keys = keys

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Check one request."""
        if scope["type"] == "http":
            path: str = scope["path"]
            if path not in OPEN and not path.startswith(OPEN_PREFIXES):
                key = await self._keys.find(bearer(header_of(scope, b"authorization")))
                if key is None:
                    await problem_response(KeyRefused(), instance=path)(scope, receive, send)
                    return
                scope.setdefault("state", {})["api_key"] = key
        await self._app(scope, receive, send)


_documented = HTTPBearer(scheme_name="API key", description="`Authorization: Bearer <key>`", auto_error=False)


async def _caller(request: Request, _: Annotated[object, Depends(_documented)]) -> ApiKey:
    key: ApiKey | None = getattr(request.state, "api_key", None)
    if key is None:
        raise KeyRefused
    return key


Caller = Annotated[ApiKey, Depends(_caller)]
"""Who asks; every route of the API takes it."""
