"""HTTP in: the runner's internal routes, called by the gateway in its callers' names; one file for each noun."""

from __future__ import annotations

from fastapi import APIRouter, Depends

from algodock_common.web import require_service_token
from algodock_runner.routes import callbacks, control, dead_letters, reading, submission, timeline

__all__ = ["router"]

router = APIRouter(prefix="/internal", dependencies=[Depends(require_service_token)])
for noun in (callbacks, submission, timeline, reading, control, dead_letters):
    router.include_router(noun.router)
