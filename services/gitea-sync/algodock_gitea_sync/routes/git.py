"""``/git/<owner>/<name>.git/…``: git's smart HTTP protocol, streamed both ways."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

from fastapi import APIRouter, Depends, Request
from fastapi.responses import Response, StreamingResponse
from starlette.requests import ClientDisconnect

from algodock_common.web import Identity, current_identity
from algodock_gitea_sync.clients.backend import GitCall
from algodock_gitea_sync.routes.bodies import content_length

if TYPE_CHECKING:
    from algodock_gitea_sync.handlers.git import GitOverHttp

__all__ = ["make_router"]

_CLIENT_WENT_AWAY = 499


def make_router(git: GitOverHttp) -> APIRouter:
    """Return the route."""
    router = APIRouter()

    @router.api_route("/git/{owner}/{name}.git/{path:path}", methods=["GET", "POST"])
    async def serve(
        request: Request, owner: str, name: str, path: str, identity: Annotated[Identity, Depends(current_identity)]
    ) -> Response:
        call = GitCall(
            full_name=f"{owner}/{name}",
            path=path,
            service=request.query_params.get("service", ""),
            method=request.method,
            user="".join(c for c in identity.name if c.isprintable())[:100] or identity.key_id,
            content_type=request.headers.get("content-type", ""),
            content_encoding=request.headers.get("content-encoding", "").lower(),
            content_length=content_length(request),
            git_protocol=request.headers.get("git-protocol", ""),
        )
        try:
            answer = await git.serve(call, request.stream())
        except ClientDisconnect:
            return Response(status_code=_CLIENT_WENT_AWAY)  # nobody reads it; git was ended, nothing was changed
        return StreamingResponse(answer.body, status_code=answer.status, headers=answer.headers)

    return router
