"""Internal routes: which Gitea is used. Its token goes in and never out."""

from __future__ import annotations

from dataclasses import asdict
from typing import TYPE_CHECKING, Annotated, Any

from fastapi import APIRouter, Depends
from pydantic import BaseModel, Field, SecretStr

from algodock_common.web import Identity, current_identity

if TYPE_CHECKING:
    from algodock_gitea_sync.domain.gitea import GiteaConfig
    from algodock_gitea_sync.handlers.configs import Configs

__all__ = ["make_router"]


class NewConfig(BaseModel):
    """A Gitea and how repositories are named there."""

    server_url: str = Field(min_length=1, max_length=500)
    access_token: SecretStr = Field(default=SecretStr(""), max_length=500)
    default_owner: str = Field(default="", max_length=100)
    repo_prefix: str = Field(default="", max_length=32)


def make_router(configs: Configs) -> APIRouter:
    """Return the routes."""
    router = APIRouter(prefix="/internal/gitea")

    @router.get("/config")
    async def get() -> dict[str, Any]:
        return _shown(await configs.get())

    @router.post("/config")
    async def save(body: NewConfig, identity: Annotated[Identity, Depends(current_identity)]) -> dict[str, Any]:
        saved = await configs.save(
            server_url=body.server_url,
            access_token=body.access_token.get_secret_value(),
            default_owner=body.default_owner,
            repo_prefix=body.repo_prefix,
            actor=identity.name,
        )
        return _shown(saved)

    @router.get("/config/history")
    async def history() -> dict[str, Any]:
        return {"configs": await configs.history()}

    @router.get("/test-connection")
    async def test() -> dict[str, Any]:
        return asdict(await configs.test())

    return router


def _shown(config: GiteaConfig | None) -> dict[str, Any]:
    if config is None:
        return {
            "server_url": "",
            "default_owner": "",
            "repo_prefix": "",
            "status": "not-configured",
            "source": "builtin",
        }
    return {
        "server_url": config.server_url,
        "default_owner": config.default_owner,
        "repo_prefix": config.repo_prefix,
        "status": "active",
        "source": config.source,
        "has_token": bool(config.access_token),
    }
