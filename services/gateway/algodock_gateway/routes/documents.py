"""Open pages: health, and the documents of the API and the events, with all they show served from here."""

from __future__ import annotations

import importlib.util
from functools import cache
from html import escape
from pathlib import Path
from string import Template
from typing import TYPE_CHECKING, Any, Final, NamedTuple

from fastapi import APIRouter, Request
from fastapi.responses import HTMLResponse, JSONResponse, Response

from algodock_common.errors import NotFound, Unavailable
from algodock_gateway.routes.asyncapi import asyncapi_document
from algodock_gateway.routes.openapi import openapi_document

if TYPE_CHECKING:
    from collections.abc import Callable

__all__ = ["make_documents"]

ASSETS: Final = "/docs/assets"
_OURS: Final = Path(__file__).parent.parent / "pages"
_LIBRARY_S: Final = 86_400
_OURS_S: Final = 300
_FILES: Final = {
    "events.css": "text/css",
    "frame.css": "text/css",
    "mark.svg": "image/svg+xml",
    "redoc.js": "text/javascript",
    "redoc.standalone.js": "text/javascript",
    "swagger-ui-bundle.js": "text/javascript",
    "swagger-ui.css": "text/css",
    "swagger.css": "text/css",
    "swagger.js": "text/javascript",
}
_STRANGERS_LOGO: Final = b"https://cdn.redoc.ly/redoc/logo-mini.svg"
"""Redoc's script shows one picture from its maker's server; it gets one without a stroke instead."""
_NO_PICTURE: Final = b"data:image/svg+xml,%3Csvg%20xmlns='http://www.w3.org/2000/svg'/%3E"

_POLICY: Final = (
    "default-src 'none'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'; "
    "script-src 'self'; connect-src 'self'; img-src 'self' data: blob:; font-src 'self' data:; "
    "style-src 'self' 'unsafe-inline'; "  # both libraries write styles into the page
    "worker-src blob:"  # Redoc searches in one
)
"""Somebody's API key is typed into these pages: nothing on them may come from, or go, elsewhere."""


class _Page(NamedTuple):
    path: str
    link: str
    styles: tuple[str, ...]
    scripts: tuple[str, ...] = ()


_PAGES: Final = {
    "docs": _Page(
        "/docs", "Try the API", ("swagger-ui.css", "frame.css", "swagger.css"), ("swagger-ui-bundle.js", "swagger.js")
    ),
    "redoc": _Page("/redoc", "Reference", ("frame.css",), ("redoc.standalone.js", "redoc.js")),
    "asyncapi": _Page("/asyncapi", "Events", ("frame.css", "events.css")),
}
_PLACE: Final = '<div id="document"></div>'


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
        return JSONResponse(openapi_document(request.app))

    document: Callable[[], dict[str, Any]] = cache(
        lambda: asyncapi_document(title="AlgoDock events", version=version, bootstrap=bootstrap)
    )

    @router.get("/asyncapi.json")
    async def asyncapi() -> JSONResponse:
        return JSONResponse(document())

    @router.get("/asyncapi")
    async def events() -> HTMLResponse:
        from algodock_gateway.routes.events_page import events_body

        return _page("asyncapi", "AlgoDock events", events_body(document()))

    _add_pages(router, title)
    return router


def _add_pages(router: APIRouter, title: str) -> None:
    @router.get("/docs")
    async def swagger() -> HTMLResponse:
        return _page("docs", title, _PLACE)

    @router.get("/redoc")
    async def redoc() -> HTMLResponse:
        return _page("redoc", f"{title} reference", _PLACE)

    @router.get(ASSETS + "/{name}")
    async def asset(name: str) -> Response:
        if name not in _FILES:
            msg = f"There is no asset {name[:100]!r}."
            raise NotFound(msg)
        return _file(name)

    @router.get("/favicon.ico")
    async def favicon() -> Response:
        return _file("mark.svg")


def _page(name: str, title: str, body: str) -> HTMLResponse:
    page = _PAGES[name]
    links = "\n".join(
        f'<a href="{one.path}"{" aria-current=page" if one is page else ""}>{one.link}</a>' for one in _PAGES.values()
    )
    text = Template((_OURS / "page.html").read_text(encoding="utf-8")).substitute(
        name=name,
        title=escape(title),
        styles="\n".join(f'<link rel="stylesheet" href="{ASSETS}/{one}">' for one in page.styles),
        links=links,
        body=body,
        scripts="\n".join(f'<script src="{ASSETS}/{one}"></script>' for one in page.scripts),
    )
    return HTMLResponse(text, headers={"content-security-policy": _POLICY})


def _file(name: str) -> Response:
    ours = _OURS / name
    content = ours.read_bytes() if ours.exists() else _library_file(name)
    age = _OURS_S if ours.exists() else _LIBRARY_S
    return Response(content, media_type=_FILES[name], headers={"cache-control": f"public, max-age={age}"})


def _library_file(name: str) -> bytes:
    """Return one of the scripts that come in a package: the pages work without a way out."""
    content = (_library() / name).read_bytes()
    return content.replace(_STRANGERS_LOGO, _NO_PICTURE) if name.startswith("redoc") else content


@cache
def _library() -> Path:
    spec = importlib.util.find_spec("fastapi_offline")
    if spec is None or spec.origin is None:
        msg = "The documents' scripts are not installed: the package fastapi-offline is missing."
        raise NotFound(msg)
    return Path(spec.origin).parent / "static"
