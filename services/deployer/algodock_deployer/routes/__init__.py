"""HTTP in, for the platform's services, by noun."""

from __future__ import annotations

from typing import TYPE_CHECKING

from fastapi import APIRouter, Depends

from algodock_common.web import require_service_token
from algodock_deployer.routes import canary, groups, logs, operations, reading, secrets, timeline, usage, waking

if TYPE_CHECKING:
    from algodock_deployer import handlers

__all__ = ["make_router"]


def make_router(context: handlers.Context) -> APIRouter:
    """Return all routes of the deployer."""
    router = APIRouter(prefix="/internal", dependencies=[Depends(require_service_token)])
    for noun in (reading, canary, logs, groups, operations, secrets, timeline, usage, waking):
        router.include_router(noun.make_router(context))
    return router
