"""Internal routes are for services only: they show the service token that all derive from the secret."""

from __future__ import annotations

import hmac

from starlette.requests import Request

from algodock_common.errors import Unauthorized

__all__ = ["ServiceTokenRefused", "bearer_token", "require_service_token"]

_SCHEME = "bearer "


class ServiceTokenRefused(Unauthorized):
    """The caller is not one of the platform's services; between services it means a wrong ``SECRET_KEY``."""

    code = "service-token-refused"


def bearer_token(authorization: str | None) -> str | None:
    """Return the token of an ``Authorization: Bearer`` header's value, or None."""
    if authorization is None or authorization[: len(_SCHEME)].lower() != _SCHEME:
        return None
    return authorization[len(_SCHEME) :].strip() or None


async def require_service_token(request: Request) -> None:
    """Let a request through that carries the service token; a FastAPI dependency.

    Raises:
        ServiceTokenRefused: there is none, or it is another.
    """
    expected: str | None = getattr(request.app.state, "service_token", None)
    if expected is None:
        expected = request.app.state.settings.secrets.service_token()
        request.app.state.service_token = expected
    shown = bearer_token(request.headers.get("authorization"))
    if shown is None or not hmac.compare_digest(shown.encode(), expected.encode()):
        msg = "This route is for the platform's services."
        raise ServiceTokenRefused(msg)
