"""The FastAPI application that every service starts from: problems, traces, logs, health, metrics."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import AbstractAsyncContextManager, asynccontextmanager, nullcontext
from typing import TYPE_CHECKING, Final, Protocol

import structlog
from fastapi import FastAPI
from fastapi.telemetry import TelemetryConfig

from algodock_common.observability.logs import setup_logging
from algodock_common.observability.tracing import flush_tracing, setup_tracing
from algodock_common.web.health import HealthCheck, health_routes
from algodock_common.web.middleware import RequestMiddleware
from algodock_common.web.problems import install_problem_handlers

if TYPE_CHECKING:
    from algodock_common.settings import HttpSettings, LogSettings, SecretSettings, TelemetrySettings

__all__ = ["Lifespan", "WebSettings", "service_app"]

Lifespan = Callable[[FastAPI], AbstractAsyncContextManager[None]]

# The framework's own instrumentation would make every span and metric a second time.
_NO_TELEMETRY: Final[TelemetryConfig] = {
    "tracing": False,
    "metrics": False,
    "logs": False,
    "operation_spans": False,
    "auto_configure": False,
}

_log = structlog.get_logger()


class WebSettings(Protocol):
    """The sections that a web service needs; ``CommonSettings`` and its subclasses have them."""

    @property
    def http(self) -> HttpSettings:
        """Where to listen."""
        ...

    @property
    def secrets(self) -> SecretSettings:
        """What tokens and identities are checked with."""
        ...

    @property
    def logs(self) -> LogSettings:
        """How to log."""
        ...

    @property
    def telemetry(self) -> TelemetrySettings:
        """How to trace."""
        ...


def service_app(  # noqa: PLR0913  # keyword-only, each with a default
    service: str,
    settings: WebSettings,
    *,
    lifespan: Lifespan | None = None,
    checks: Mapping[str, HealthCheck] | None = None,
    title: str | None = None,
    description: str = "",
    version: str = "0.1.0",
    docs: bool = False,
    untraced: tuple[str, ...] = (),
) -> FastAPI:
    """Return an application with everything that all services have in common.

    Sets up this process's logs and traces. ``checks`` are asked by ``/ready``. ``docs`` serves
    ``/docs``, ``/redoc`` and ``/openapi.json``. Requests whose path begins with one of
    ``untraced`` belong to raw ASGI code that traces and measures them itself.
    ``app.state.settings`` holds the settings.
    """
    setup_logging(settings.logs, service=service)
    setup_tracing(settings.telemetry, service=service)

    @asynccontextmanager
    async def whole_life(app: FastAPI) -> AsyncIterator[None]:
        try:
            async with lifespan(app) if lifespan else nullcontext():
                _log.info("service started", port=settings.http.port)
                yield
        finally:
            _log.info("service stopped")
            flush_tracing()

    app = FastAPI(
        title=title or f"AlgoDock {service}",
        description=description,
        version=version,
        lifespan=whole_life,
        docs_url="/docs" if docs else None,
        redoc_url="/redoc" if docs else None,
        openapi_url="/openapi.json" if docs else None,
        telemetry=_NO_TELEMETRY,
    )
    app.state.settings = settings
    app.add_middleware(RequestMiddleware, untraced=untraced)
    install_problem_handlers(app)
    app.include_router(health_routes(service, checks or {}))
    return app
