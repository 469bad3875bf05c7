"""The runner's internal HTTP in this process, with the submission of a test's platform behind it."""

from __future__ import annotations

import os
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING

import httpx

from algodock_common.settings import HttpSettings, LogSettings, SecretSettings, TelemetrySettings
from algodock_common.web import IDENTITY_HEADER, Identity, service_app, sign_identity
from algodock_runner.handlers.files import FileSubmission
from algodock_runner.handlers.rerun import Reruns
from algodock_runner.routes import install

if TYPE_CHECKING:
    from algodock_runner.settings import TaskSettings

    from .conftest import Platform

__all__ = ["served"]


class _Settings:
    def __init__(self, tasks: TaskSettings) -> None:
        self.http = HttpSettings(port=1)
        self.secrets = SecretSettings()
        self.logs = LogSettings()
        self.telemetry = TelemetrySettings()
        self.tasks = tasks


@asynccontextmanager
async def served(platform: Platform, *, owner: str = "key-1") -> AsyncIterator[httpx.AsyncClient]:
    """Give a client that asks in the name of ``owner``."""
    settings = _Settings(platform.limits)
    app = service_app("runner", settings)
    install(app)
    app.state.submission = platform.submission
    app.state.file_submission = FileSubmission(platform.submission, platform.store)
    app.state.reruns = Reruns(platform.db, platform.store, platform.submission)
    app.state.desk = platform.desk
    identity = sign_identity(Identity(owner, "somebody"), os.environ["IDENTITY_PRIVATE_KEY"])
    headers = {"authorization": f"Bearer {settings.secrets.service_token()}", IDENTITY_HEADER: identity}
    transport = httpx.ASGITransport(app, raise_app_exceptions=False)
    async with httpx.AsyncClient(transport=transport, base_url="http://runner", headers=headers) as client:
        yield client
