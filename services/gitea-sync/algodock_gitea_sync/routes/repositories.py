"""Internal routes: an algorithm's repository made, linked, found, uploaded to; its webhook deliveries."""

from __future__ import annotations

import os
from http import HTTPStatus
from typing import TYPE_CHECKING, Annotated, Any
from uuid import UUID

from fastapi import APIRouter, Depends, Query, Request
from pydantic import BaseModel, Field
from starlette.datastructures import UploadFile as FormFile

from algodock_common.errors import BadRequest
from algodock_common.identifiers import AlgorithmName
from algodock_common.web import Identity, current_identity
from algodock_gitea_sync.clients.forge import UploadFile
from algodock_gitea_sync.routes.bodies import limited

if TYPE_CHECKING:
    from algodock_gitea_sync.domain.repository import Look, Repository
    from algodock_gitea_sync.handlers.repositories import Repositories
    from algodock_gitea_sync.handlers.uploads import Uploads

__all__ = ["make_router"]

_MAX_FILES = 5000
_MAX_FIELDS = 50


class NewRepository(BaseModel):
    """Which algorithm gets a repository."""

    algorithm_id: UUID
    algorithm: AlgorithmName
    owner: str = Field(default="", max_length=255)


class NewLink(NewRepository):
    """Which repository's branch deploys as the algorithm."""

    repo_url: str = Field(min_length=1, max_length=2048)
    branch: str = Field(default="main", min_length=1, max_length=255)


def make_router(handlers: Repositories, uploads: Uploads, *, max_bytes: int) -> APIRouter:
    """Return the routes; an upload may have ``max_bytes``."""
    router = APIRouter(prefix="/internal/repositories")

    @router.post("")
    async def ensure(body: NewRepository) -> dict[str, Any]:
        return _shown(await handlers.ensure(body.algorithm_id, body.algorithm, body.owner))

    @router.post("/link", status_code=HTTPStatus.ACCEPTED)
    async def link(body: NewLink) -> dict[str, Any]:
        linked = await handlers.link(body.algorithm_id, body.algorithm, body.owner, body.repo_url, body.branch)
        return _shown(linked.repository) | _seen(linked.look) | {"webhook": linked.watched}

    @router.get("/{name}")
    async def get(name: AlgorithmName) -> dict[str, Any]:
        return _shown(await handlers.get(name))

    @router.get("/{name}/deliveries")
    async def deliveries(name: AlgorithmName, limit: Annotated[int, Query(ge=1, le=500)] = 50) -> dict[str, Any]:
        return {"deliveries": await handlers.deliveries(name, limit)}

    @router.post("/{name}/upload")
    async def upload(
        request: Request,
        name: AlgorithmName,
        identity: Annotated[Identity, Depends(current_identity)],
        replace: bool = False,  # noqa: FBT001, FBT002  # a query parameter
    ) -> dict[str, Any]:
        if not request.headers.get("content-type", "").startswith("multipart/form-data"):
            raise BadRequest("an upload is multipart/form-data with its files in `files`")
        bounded = limited(request, max_bytes, "an upload")
        async with bounded.form(max_files=_MAX_FILES, max_fields=_MAX_FIELDS) as form:
            files = [_upload(part) for key, part in form.multi_items() if key == "files" and isinstance(part, FormFile)]
            message = form.get("message")
            commit, look = await uploads.take(
                name,
                files,
                author=identity.name,
                message=message if isinstance(message, str) else "",
                replace=replace,
            )
        return {"success": True, **_seen(look), "commit": commit, "files": [file.path for file in files]}

    return router


def _upload(part: FormFile) -> UploadFile:
    file = part.file
    size = file.seek(0, os.SEEK_END)
    file.seek(0)
    return UploadFile(path=part.filename or "", content=file, size=size)


def _shown(repository: Repository) -> dict[str, Any]:
    return {
        "repository_id": repository.id,
        "algorithm_id": repository.algorithm_id,
        "algorithm": repository.algorithm,
        "forge": repository.forge.value,
        "full_name": repository.full_name,
        "clone_url": repository.clone_url,
        "branch": repository.branch,
        "archived": repository.archived,
        "last_seen_commit": repository.last_seen_commit,
        "last_seen_at": repository.last_seen_at,
        "problem": repository.last_problem,
    }


def _seen(look: Look) -> dict[str, Any]:
    return {
        "outcome": look.outcome.value,
        "commit": look.commit,
        "message": look.message,
        "problem": look.problem,
        "detail": look.detail,
    }
