"""``/api/v1/keys``: what a caller may do with its own key."""

from __future__ import annotations

from datetime import datetime
from typing import TYPE_CHECKING, Final

from fastapi import APIRouter, Response
from pydantic import BaseModel, ConfigDict, Field

from algodock_gateway.routes.api.answers import Problem
from algodock_gateway.routes.gatekeeper import Caller

if TYPE_CHECKING:
    from algodock_gateway.handlers.callback_secrets import CallbackSecrets

__all__ = ["make_router"]

LONGEST_GRACE_S: Final = 7 * 86_400


class RotateRequest(BaseModel):
    """How long the secret before stays valid, in seconds; 0: it ends now, because it has become known."""

    model_config = ConfigDict(extra="forbid")

    grace_s: float | None = Field(default=None, ge=0, le=LONGEST_GRACE_S)


class SecretAnswer(BaseModel):
    """A valid secret, without the secret: `fingerprint` is the beginning of its SHA-256 in hex."""

    model_config = ConfigDict(from_attributes=True)

    fingerprint: str
    since: datetime
    valid_until: datetime | None


class SecretsAnswer(BaseModel):
    """Every secret that signs callbacks now, the newest first."""

    valid: list[SecretAnswer]


class RotatedAnswer(SecretsAnswer):
    """The new secret: it is shown this once."""

    callback_secret: str


def make_router(secrets: CallbackSecrets) -> APIRouter:
    """Return the routes."""
    router = APIRouter(prefix="/keys", tags=["callbacks"])

    @router.get("/callback-secret")
    async def status(caller: Caller) -> SecretsAnswer:
        """Say which secrets sign the callbacks of this key's tasks; the secrets themselves are never shown again."""
        return SecretsAnswer(valid=[SecretAnswer.model_validate(one) for one in await secrets.status(caller.id)])

    @router.post(
        "/callback-secret/rotate",
        responses={409: {"model": Problem, "description": "Too many replaced ones are still valid"}},
    )
    async def rotate(caller: Caller, response: Response, body: RotateRequest | None = None) -> RotatedAnswer:
        """Replace the secret that signs the callbacks of this key's tasks.

        Until the grace is over, callbacks carry a signature by each valid secret.
        """
        rotated = await secrets.rotate(caller.id, grace_s=body.grace_s if body else None)
        response.headers["cache-control"] = "no-store"
        return RotatedAnswer(
            callback_secret=rotated.secret, valid=[SecretAnswer.model_validate(one) for one in rotated.valid]
        )

    return router
