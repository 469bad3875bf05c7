"""What the gateway reads from the environment."""

from __future__ import annotations

from pydantic import Field, SecretStr
from pydantic_settings import BaseSettings, SettingsConfigDict

from algodock_common.settings import CommonSettings

__all__ = ["GatewaySettings", "Settings"]


class GatewaySettings(BaseSettings):
    """``GATEWAY_*``."""

    model_config = SettingsConfigDict(env_prefix="GATEWAY_", extra="ignore", frozen=True)

    keep_calls_days: float = Field(default=30, gt=0, description="how long call records are kept")
    trusted_proxies: str = Field(
        default="127.0.0.1,::1", description="addresses of edges in front, whose word on scheme and host counts"
    )
    max_upload_bytes: int = Field(default=500 * 2**20, gt=0, description="an upload by HTTP; past it 413")

    callback_secret_grace_s: float = Field(
        default=86_400, ge=0, description="how long a replaced callback secret stays valid beside the new one"
    )

    wake_wait_s: float = Field(default=30, gt=0, description="how long a call waits for a service that was asleep")

    task_watchers: int = Field(default=1000, ge=1, le=10_000, description="readers of tasks' events in one process")

    @property
    def proxies(self) -> frozenset[str]:
        """Return the trusted edges' addresses."""
        return frozenset(part.strip() for part in self.trusted_proxies.split(",") if part.strip())


class Settings(CommonSettings):
    """The common sections and the gateway's own."""

    def __init__(self) -> None:
        """Read everything from the environment.

        Raises:
            pydantic.ValidationError: a variable is missing or wrong.
            ValueError: ``IDENTITY_PRIVATE_KEY`` is not set.
        """
        super().__init__()
        self.gateway = GatewaySettings()
        private = self.secrets.identity_private_key
        if private is None:
            msg = "IDENTITY_PRIVATE_KEY is not set: the gateway signs with it who its callers are"
            raise ValueError(msg)
        self.identity_private_key: SecretStr = private
