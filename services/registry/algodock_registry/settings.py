"""What the registry reads from the environment."""

from __future__ import annotations

from datetime import timedelta
from typing import Annotated
from urllib.parse import urlsplit

from pydantic import BeforeValidator, Field
from pydantic_settings import BaseSettings, NoDecode, SettingsConfigDict

from algodock_common.settings import CommonSettings
from algodock_registry.domain import PortRange

__all__ = ["RegistrySettings", "Settings"]


def _port_range(value: object) -> object:
    return PortRange.parse(value) if isinstance(value, str) else value


class RegistrySettings(BaseSettings):
    """``PORT_RANGE``, ``HEALTH_CHECK_*``, ``REGISTRY_*``; all times in seconds."""

    model_config = SettingsConfigDict(extra="ignore", frozen=True)

    port_range: Annotated[PortRange, NoDecode, BeforeValidator(_port_range)] = PortRange(8100, 8999)
    health_check_interval: float = Field(default=10, gt=0, le=300)
    health_check_timeout: float = Field(default=5, gt=0, description="at most the interval is used")
    health_check_parallel: int = Field(default=32, ge=1, le=1000, description="probes at once")
    registry_repair_interval: float = Field(default=5, gt=0, description="how often lost events are looked for")
    registry_keep_gone: float = Field(default=7 * 86_400, gt=0, description="how long rows of gone instances stay")
    registry_forget_silent: float = Field(
        default=3600, gt=0, description="after how long a self-registered service that fell silent is forgotten"
    )

    @property
    def interval(self) -> timedelta:
        """Return the time between two looks at an instance's health."""
        return timedelta(seconds=self.health_check_interval)

    @property
    def probe_timeout_s(self) -> float:
        """Return how long one probe may take."""
        return min(self.health_check_timeout, self.health_check_interval)


class Settings(CommonSettings):
    """The common sections and the registry's own."""

    def __init__(self) -> None:
        """Read everything from the environment.

        Raises:
            pydantic.ValidationError: a variable is missing or wrong.
        """
        super().__init__()
        self.registry = RegistrySettings()

    def own_addresses(self) -> frozenset[tuple[str, int]]:
        """Return host and port of the platform's services and servers: no algorithm's."""
        peers = self.peers
        urls = [
            peers.gitea_sync_url,
            peers.deployer_url,
            peers.registry_url,
            peers.runner_url,
            peers.gateway_url,
            peers.public_url,
            self.database.url.get_secret_value(),
            self.redis.url.get_secret_value(),
            self.objects.endpoint,
            *(f"kafka://{address}" for address in self.kafka.bootstrap.split(",")),
        ]
        parts = [urlsplit(url) for url in urls]
        found = {(part.hostname, part.port) for part in parts}
        found.add((self.http.host, self.http.port))
        return frozenset((host, port) for host, port in found if host and port)
