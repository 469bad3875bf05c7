"""HTTP in: the runner's internal routes, called by the gateway in its callers' names; one file for each noun."""

from __future__ import annotations

from typing import TYPE_CHECKING

from fastapi import Depends

from algodock_common.web import require_service_token
from algodock_runner.routes import callbacks, control, dead_letters, reading, submission, timeline

if TYPE_CHECKING:
    from fastapi import FastAPI

__all__ = ["install"]


def install(app: FastAPI) -> None:
    """Give the application every route; all of them want the service token.

    A router's own prefix is whole, because the metrics name a route by it.
    """
    app.router.routes.insert(0, submission.QUICK)
    for noun in (callbacks, submission, timeline, reading, control, dead_letters):
        app.include_router(noun.router, dependencies=[Depends(require_service_token)])
