"""``/health`` says that the process lives, ``/ready`` whether it can do its work and if not, why."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Mapping
from time import perf_counter
from typing import Any, Final

import structlog
from fastapi import APIRouter
from starlette.responses import JSONResponse, Response

from algodock_common.errors import AlgoDockError
from algodock_common.observability.metrics import METRICS_CONTENT_TYPE, render_metrics

__all__ = ["HealthCheck", "health_routes", "run_checks"]

HealthCheck = Callable[[], Awaitable[object]]
"""Returns when the dependency answers, raises when it does not; a text that it returns is shown as a note."""

CHECK_TIMEOUT_S: Final = 2.0

_log = structlog.get_logger()


def health_routes(service: str, checks: Mapping[str, HealthCheck]) -> APIRouter:
    """Return the routes ``/health``, ``/ready`` (503 while a check fails) and ``/metrics``."""
    router = APIRouter(include_in_schema=False)

    @router.get("/health")
    async def health() -> dict[str, str]:
        return {"status": "ok", "service": service}

    @router.get("/ready")
    async def ready() -> Response:
        states = await run_checks(checks)
        well = all(state["state"] == "ok" for state in states.values())
        body = {"status": "ready" if well else "not ready", "service": service, "checks": states}
        return JSONResponse(body, status_code=200 if well else 503)

    @router.get("/metrics")
    async def metrics() -> Response:
        return Response(render_metrics(), media_type=METRICS_CONTENT_TYPE)

    return router


async def run_checks(checks: Mapping[str, HealthCheck]) -> dict[str, dict[str, Any]]:
    """Run all checks at once, each for at most two seconds; return each one's state and milliseconds."""
    states = await asyncio.gather(*(_run(name, check) for name, check in checks.items()))
    return dict(zip(checks, states, strict=True))


async def _run(name: str, check: HealthCheck) -> dict[str, Any]:
    started = perf_counter()
    try:
        async with asyncio.timeout(CHECK_TIMEOUT_S):
            answer = await check()
    except TimeoutError:
        return {"state": "failed", "error": f"no answer within {CHECK_TIMEOUT_S:g} s"}
    except AlgoDockError as error:
        return {"state": "failed", "error": error.detail}
    except Exception as error:  # noqa: BLE001  # whatever a dependency raises, the answer is that it failed
        # Its message may carry an address or a name of the inside: that is for the log only.
        _log.warning("dependency check failed", dependency=name, error=str(error), type=type(error).__name__)
        return {"state": "failed", "error": type(error).__name__}
    note = {"note": answer} if isinstance(answer, str) and answer else {}
    return {"state": "ok", "ms": round((perf_counter() - started) * 1000, 1), **note}
