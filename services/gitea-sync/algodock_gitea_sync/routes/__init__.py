"""HTTP in: git's own protocol, webhooks, and the internal routes for the gateway."""

from __future__ import annotations

from typing import TYPE_CHECKING

from fastapi import APIRouter, Depends

from algodock_common.web import require_service_token
from algodock_gitea_sync.routes import configs, git, repositories, webhook

if TYPE_CHECKING:
    from algodock_gitea_sync.handlers import Handlers
    from algodock_gitea_sync.settings import GitSettings

__all__ = ["make_router"]


def make_router(handlers: Handlers, settings: GitSettings) -> APIRouter:
    """Return every route; only the webhook's is open to who has no service token, because its body is signed."""
    router = APIRouter()
    router.include_router(webhook.make_router(handlers.webhooks, max_bytes=settings.max_webhook_bytes))
    inside = [Depends(require_service_token)]
    router.include_router(git.make_router(handlers.git), dependencies=inside)
    router.include_router(
        repositories.make_router(handlers.repositories, handlers.uploads, max_bytes=settings.max_push_bytes),
        dependencies=inside,
    )
    router.include_router(configs.make_router(handlers.configs), dependencies=inside)
    return router
