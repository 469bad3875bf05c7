"""Deploying by request: ``/services/deploy-from-gitea`` and ``/gitea/repos/upload``."""

from __future__ import annotations

from http import HTTPStatus
from typing import TYPE_CHECKING, Annotated, Any
from uuid import UUID

from fastapi import APIRouter, Query, Request, Response
from pydantic import BaseModel, ConfigDict, Field
from starlette.datastructures import UploadFile

from algodock_common.errors import BadRequest, InvalidInput
from algodock_gateway.clients.peers import UploadedFile
from algodock_gateway.domain import BodyTooLarge
from algodock_gateway.domain.services import api_url
from algodock_gateway.routes.api.answers import DeployAnswer, UploadAnswer
from algodock_gateway.routes.gatekeeper import Caller
from algodock_gateway.routes.headers import declared_length, header_of

if TYPE_CHECKING:
    from starlette.types import Message

    from algodock_gateway.handlers.deploying import Deploying
    from algodock_gateway.handlers.identity import Stamps

__all__ = ["make_router"]

_MOST_FILES = 5000


class ServiceConfig(BaseModel):
    """What a service is called and how it listens, as existing programs send it."""

    model_config = ConfigDict(extra="ignore")

    name: str | None = Field(default=None, max_length=255)
    port: int | None = Field(default=None, ge=1, le=65535)
    host: str | None = Field(default=None, max_length=255)
    timeout: float | None = Field(default=None, gt=0)

    def notes(self) -> list[str]:
        """Return what of it is decided elsewhere: said, so that nobody believes it was applied."""
        notes = []
        if self.host not in (None, "127.0.0.1", "localhost"):
            notes.append(f"host {self.host}: instances listen on the loopback address; only the gateway faces people")
        if self.port is not None:
            notes.append(f"port {self.port}: each release gets a port of its own unless algodock.yaml pins one")
        if self.timeout is not None:
            notes.append(f"timeout {self.timeout:g}: set `timeout` in algodock.yaml")
        return notes


class DeployRequest(BaseModel):
    """Which repository's branch shall run as which algorithm."""

    model_config = ConfigDict(extra="ignore")

    algorithm_id: str | None = Field(default=None, max_length=255, description="UUID or name; default: the service's")
    repo_url: str = Field(min_length=1, max_length=2048)
    branch: str = Field(default="main", min_length=1, max_length=255)
    service_config: ServiceConfig = Field(default_factory=ServiceConfig)


def make_router(deploying: Deploying, stamps: Stamps, *, url: str, max_upload_bytes: int) -> APIRouter:
    """Return the routes; ``max_upload_bytes`` bounds an upload."""
    router = APIRouter(tags=["deploying"])

    @router.post(
        "/services/deploy-from-gitea",
        status_code=HTTPStatus.ACCEPTED,
        responses={200: {"model": DeployAnswer, "description": "It has ended (`wait`)"}},
    )
    async def deploy(
        body: DeployRequest, caller: Caller, response: Response, wait: Annotated[float, Query(ge=0, le=600)] = 0
    ) -> DeployAnswer:
        """Deploy a branch of a repository; with `wait` (seconds) answer when it is live or failed."""
        config = body.service_config
        algorithm, commit, problem = await deploying.from_repository(
            algorithm_id=body.algorithm_id,
            name=config.name,
            repo_url=body.repo_url,
            branch=body.branch,
            owner=caller.name,
        )
        answer = DeployAnswer(
            success=not problem,
            service_id=algorithm.id,
            status="failed" if problem else "deploying",
            api_url=api_url(url, algorithm.name),
            release_id=None,
            error=problem or None,
            commit=commit,
            notes=config.notes(),
        )
        release = await deploying.release_of(algorithm, commit, wait_s=wait) if commit else None
        if release is not None:
            answer.release_id = UUID(str(release["id"]))
            if wait and release["state"] in {"canary", "live", "draining", "kept"}:
                answer.status, response.status_code = "running", HTTPStatus.OK
            elif wait and release["state"] in {"failed", "superseded"}:
                answer.success, answer.status, response.status_code = False, str(release["state"]), HTTPStatus.OK
                answer.error = str(release.get("reason") or release["state"])
        return answer

    @router.post("/gitea/repos/upload", openapi_extra=_UPLOAD_BODY)
    async def upload(request: Request, caller: Caller) -> UploadAnswer:
        """Make one commit of the files in the algorithm's repository, which deploys it."""
        if not request.headers.get("content-type", "").startswith("multipart/form-data"):
            msg = "An upload is multipart/form-data: `algorithm_id` and many `files`."
            raise BadRequest(msg)
        bounded = _bounded(request, max_upload_bytes)
        async with bounded.form(max_files=_MOST_FILES, max_fields=50) as form:
            named, message = form.get("algorithm_id"), form.get("message")
            files = [
                UploadedFile(part.filename or "", part.file, part.content_type or "application/octet-stream")
                for name, part in form.multi_items()
                if name == "files" and isinstance(part, UploadFile)
            ]
            if not isinstance(named, str) or not named or not files:
                msg = "An upload needs `algorithm_id` (UUID or name) and at least one of `files`."
                raise InvalidInput(msg)
            algorithm, made = await deploying.upload(
                named,
                files,
                owner=caller.name,
                identity=stamps.of(caller),
                message=message if isinstance(message, str) else "",
            )
        return UploadAnswer.model_validate({**made, "service_id": algorithm.id})

    return router


def _bounded(request: Request, most: int) -> Request:
    """Return the request with a body that may have ``most`` bytes.

    Raises:
        BodyTooLarge: at once when its Content-Length is past that.
    """
    if (declared_length(header_of(request.scope, b"content-length")) or 0) > most:
        raise BodyTooLarge(most)
    taken = 0

    async def receive() -> Message:
        nonlocal taken
        message = await request.receive()
        taken += len(message.get("body", b""))
        if taken > most:
            raise BodyTooLarge(most)
        return message

    return Request(request.scope, receive)


_UPLOAD_BODY: dict[str, Any] = {
    "requestBody": {
        "required": True,
        "content": {
            "multipart/form-data": {
                "schema": {
                    "type": "object",
                    "required": ["algorithm_id", "files"],
                    "properties": {
                        "algorithm_id": {"type": "string"},
                        "message": {"type": "string"},
                        "files": {"type": "array", "items": {"type": "string", "format": "binary"}},
                    },
                }
            }
        },
    }
}
