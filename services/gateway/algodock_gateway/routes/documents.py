"""Open pages: health, and the documents of the API and the events, with scripts served from here."""

from __future__ import annotations

import importlib.util
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from fastapi import APIRouter, Request
from fastapi.openapi.docs import get_redoc_html, get_swagger_ui_html, get_swagger_ui_oauth2_redirect_html
from fastapi.responses import FileResponse, HTMLResponse, JSONResponse, Response

from algodock_common.errors import NotFound, Unavailable
from algodock_gateway.routes.asyncapi import asyncapi_document, asyncapi_page

if TYPE_CHECKING:
    from collections.abc import Callable

__all__ = ["make_documents"]

ASSETS: Final = "/docs/assets"
_FILES: Final = {
    "swagger-ui-bundle.js": "text/javascript",
    "swagger-ui.css": "text/css",
    "redoc.standalone.js": "text/javascript",
    "favicon.png": "image/png",
}
_CACHED: Final = {"cache-control": "public, max-age=86400"}


def make_documents(*, title: str, version: str, bootstrap: str, serving: Callable[[], bool]) -> APIRouter:
    """Return the routes; ``serving`` says whether the gateway can serve calls."""
    router = APIRouter(include_in_schema=False)

    @router.get("/api/health")
    async def health() -> dict[str, str]:
        if not serving():
            msg = "The gateway does not know yet where the algorithms run."
            raise Unavailable(msg, retry_after=1)
        return {"status": "ok"}

    @router.get("/openapi.json")
    async def openapi(request: Request) -> JSONResponse:
        return JSONResponse(request.app.openapi())

    _add_pages(router, title)
    document: Callable[[], dict[str, Any]] = cache(
        lambda: asyncapi_document(title="AlgoDock events", version=version, bootstrap=bootstrap)
    )

    @router.get("/asyncapi.json")
    async def asyncapi() -> JSONResponse:
        return JSONResponse(document())

    @router.get("/asyncapi")
    async def asyncapi_html() -> HTMLResponse:
        return HTMLResponse(asyncapi_page(document()))

    return router


def _add_pages(router: APIRouter, title: str) -> None:
    @router.get("/docs")
    async def swagger() -> HTMLResponse:
        return get_swagger_ui_html(
            openapi_url="/openapi.json",
            title=title,
            oauth2_redirect_url="/docs/oauth2-redirect",
            swagger_js_url=f"{ASSETS}/swagger-ui-bundle.js",
            swagger_css_url=f"{ASSETS}/swagger-ui.css",
            swagger_favicon_url=f"{ASSETS}/favicon.png",
            swagger_ui_parameters={"persistAuthorization": True},
        )

    @router.get("/docs/oauth2-redirect")
    async def oauth2_redirect() -> HTMLResponse:
        return get_swagger_ui_oauth2_redirect_html()

    @router.get("/redoc")
    async def redoc() -> HTMLResponse:
        return get_redoc_html(
            openapi_url="/openapi.json",
            title=title,
            redoc_js_url=f"{ASSETS}/redoc.standalone.js",
            redoc_favicon_url=f"{ASSETS}/favicon.png",
            with_google_fonts=False,
        )

    @router.get(ASSETS + "/{name}")
    async def asset(name: str) -> Response:
        if name not in _FILES:
            msg = f"There is no asset {name[:100]!r}."
            raise NotFound(msg)
        return FileResponse(_assets() / name, media_type=_FILES[name], headers=_CACHED)

    @router.get("/favicon.ico")
    async def favicon() -> Response:
        return FileResponse(_assets() / "favicon.png", media_type="image/png", headers=_CACHED)


@cache
def _assets() -> Path:
    """Return the folder of the scripts, which come in a package: the pages work without a way out."""
    spec = importlib.util.find_spec("fastapi_offline")
    if spec is None or spec.origin is None:
        msg = "The documents' scripts are not installed: the package fastapi-offline is missing."
        raise NotFound(msg)
    return Path(spec.origin).parent / "static"
