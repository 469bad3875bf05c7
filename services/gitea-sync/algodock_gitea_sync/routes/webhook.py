"""``POST /webhook``: pushes told by Gitea, Forgejo, Gogs, and the built-in forge's own hook."""

from __future__ import annotations

from http import HTTPStatus
from typing import TYPE_CHECKING, Any

from fastapi import APIRouter, Request
from fastapi.responses import JSONResponse

from algodock_gitea_sync.domain.repository import Outcome
from algodock_gitea_sync.routes.bodies import whole_body

if TYPE_CHECKING:
    from algodock_gitea_sync.handlers.webhooks import Webhooks

__all__ = ["make_router"]


def make_router(webhooks: Webhooks, *, max_bytes: int) -> APIRouter:
    """Return the route; the signature over the raw body is the credential."""
    router = APIRouter()

    @router.post("/webhook")
    async def receive(request: Request) -> JSONResponse:
        body = await whole_body(request, max_bytes, "a webhook")
        repository, look = await webhooks.receive(request.headers, body)
        answer: dict[str, Any] = {
            "outcome": look.outcome.value,
            "algorithm": repository.algorithm,
            "branch": look.branch,
            "commit": look.commit,
            "problem": look.problem,
            "detail": look.detail,
        }
        pending = look.outcome is Outcome.RECEIVED
        return JSONResponse(answer, status_code=HTTPStatus.ACCEPTED if pending else HTTPStatus.OK)

    return router
