"""An echo: the smallest ASGI service that AlgoDock runs as it is, and what the figures are measured with."""

import json
import os

from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

VERSION = "1"


async def predict(request: Request) -> Response:
    """Answer what was sent."""
    body = await request.body()
    try:
        got = json.loads(body or b"{}")
    except ValueError as error:
        problem = {"type": "about:blank", "title": "Invalid input", "status": 422, "detail": f"not JSON: {error}"}
        return JSONResponse(problem, 422, media_type="application/problem+json")
    return JSONResponse({"version": VERSION, "got": got})


async def health(_: Request) -> Response:
    """Say that it can serve."""
    return JSONResponse({"status": "ok"})


async def info(_: Request) -> Response:
    """Say what it is."""
    return JSONResponse({"name": os.environ.get("ALGODOCK_NAME", "echo-python"), "version": VERSION})


app = Starlette(routes=[Route("/predict", predict, methods=["POST"]), Route("/health", health), Route("/info", info)])
