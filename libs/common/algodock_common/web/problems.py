"""Errors at the HTTP edge: every failure of every service leaves as an RFC 9457 problem document."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, Any, cast

import structlog
from fastapi.exceptions import RequestValidationError
from starlette.exceptions import HTTPException
from starlette.responses import Response

from algodock_common.errors import (
    PROBLEM_CONTENT_TYPE,
    AlgoDockError,
    BadRequest,
    InvalidInput,
    Unavailable,
    error_for_status,
    problem_of,
)
from algodock_common.outages import is_infrastructure, is_shortage, is_unstorable

if TYPE_CHECKING:
    from fastapi import FastAPI
    from starlette.requests import Request

__all__ = ["install_problem_handlers", "problem_response", "unexpected_error"]

_log = structlog.get_logger()
_BODYLESS = frozenset({204, 304})
_NOT_FOUND = 404
_METHOD_NOT_ALLOWED = 405
_SERVER_ERROR = 500


def problem_response(error: AlgoDockError, *, instance: str | None = None) -> Response:
    """Return the response for ``error``; an ASGI application too, so raw ASGI code can await it."""
    return Response(
        json.dumps(problem_of(error, instance=instance), default=str, ensure_ascii=False).encode(),
        status_code=error.status,
        headers=error.headers(),
        media_type=PROBLEM_CONTENT_TYPE,
    )


def unexpected_error(error: BaseException, *, path: str) -> AlgoDockError:
    """Return what the caller may know of ``error``: that it may pass, or that the log has the reason."""
    if is_infrastructure(error):
        _log.warning("infrastructure away", path=path, error=repr(error))
        return Unavailable("A server that the platform stands on is away; try again shortly.", retry_after=1)
    if is_unstorable(error):
        _log.info("text refused by the database", path=path)
        return InvalidInput("A text of the request holds a zero byte, which can be neither kept nor looked for.")
    _log.error("unexpected error", path=path, exc_info=error)
    if is_shortage(error):
        return Unavailable("The platform is short of something at the moment; its log says of what.", retry_after=1)
    return AlgoDockError("The service failed unexpectedly; its log has the reason under this trace id.")


def install_problem_handlers(app: FastAPI) -> None:
    """Answer typed errors, validation errors and the framework's own errors with problem documents."""
    app.add_exception_handler(AlgoDockError, _typed)
    app.add_exception_handler(RequestValidationError, _invalid)
    app.add_exception_handler(HTTPException, _framework)


async def _typed(request: Request, error: Exception) -> Response:
    error = cast("AlgoDockError", error)
    if error.status >= _SERVER_ERROR:
        _log.warning("request failed", path=request.url.path, status=error.status, error=error.detail)
    return problem_response(error, instance=request.url.path)


async def _invalid(request: Request, error: Exception) -> Response:
    found = cast("RequestValidationError", error).errors()
    malformed = next((item for item in found if item["type"] == "json_invalid"), None)
    if malformed is not None:
        reason = malformed.get("ctx", {}).get("error", "")
        return problem_response(BadRequest(f"The body is not valid JSON: {reason}"), instance=request.url.path)
    errors = [_field_error(item) for item in found]
    return problem_response(InvalidInput(_summary(errors), errors=errors), instance=request.url.path)


def _field_error(item: Mapping[str, Any]) -> dict[str, str]:
    """Say where and what; the value itself stays out, because it may be a secret."""
    place, *path = item["loc"]
    pointer = "#" + "".join(f"/{str(part).replace('~', '~0').replace('/', '~1')}" for part in path)
    return {"in": str(place), "pointer": pointer, "detail": item["msg"]}


def _summary(errors: Iterable[Mapping[str, str]]) -> str:
    return "; ".join(f"{error['in']} {error['pointer']}: {error['detail']}" for error in errors)


async def _framework(request: Request, error: Exception) -> Response:
    error = cast("HTTPException", error)
    if error.status_code in _BODYLESS:
        return Response(status_code=error.status_code, headers=error.headers)
    problem = error_for_status(error.status_code)(_detail(request, error))
    problem.status = error.status_code
    if type(problem).status != error.status_code:
        problem.title, problem.code = str(error.detail), f"http-{error.status_code}"
    response = problem_response(problem, instance=request.url.path)
    response.headers.update(error.headers or {})
    return response


def _detail(request: Request, error: HTTPException) -> str:
    if error.status_code == _NOT_FOUND and error.detail == "Not Found":
        return f"There is nothing at {request.url.path}."
    if error.status_code == _METHOD_NOT_ALLOWED:
        return f"{request.method} is not possible at {request.url.path}."
    return str(error.detail)
