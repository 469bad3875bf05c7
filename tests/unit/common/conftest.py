"""Settings for the common library's tests, made without an environment."""

from __future__ import annotations

from dataclasses import dataclass, field

import pytest
from pydantic import SecretStr

from algodock_common.settings import HttpSettings, LogSettings, SecretSettings, TelemetrySettings
from algodock_common.web import new_identity_keys


@dataclass(frozen=True)
class Settings:
    """The sections that ``service_app`` reads."""

    secrets: SecretSettings
    http: HttpSettings = field(default_factory=lambda: HttpSettings(host="127.0.0.1", port=8999))
    logs: LogSettings = field(default_factory=LogSettings)
    telemetry: TelemetrySettings = field(default_factory=TelemetrySettings)


@pytest.fixture(scope="session")
def secrets() -> SecretSettings:
    private, public = new_identity_keys()
    return SecretSettings(
        secret_key=SecretStr("k" * 40), identity_public_key=public, identity_private_key=SecretStr(private)
    )


@pytest.fixture
def settings(secrets: SecretSettings) -> Settings:
    return Settings(secrets)
