"""Settings by section, read from the environment; each service composes only what it reads.

Nothing is read at import: a service's ``main.py`` builds its settings once and hands them on.
"""

from __future__ import annotations

import hashlib
import hmac
import platform
from pathlib import Path
from typing import Annotated, Literal

from pydantic import AfterValidator, Field, SecretStr
from pydantic_settings import BaseSettings, SettingsConfigDict

__all__ = [
    "CommonSettings",
    "DatabaseSettings",
    "HttpSettings",
    "KafkaSettings",
    "LogSettings",
    "ObjectStoreSettings",
    "PeerSettings",
    "PlatformSettings",
    "RedisSettings",
    "SecretSettings",
    "TelemetrySettings",
]


def _section(prefix: str = "") -> SettingsConfigDict:
    return SettingsConfigDict(env_prefix=prefix, extra="ignore", frozen=True)


class PlatformSettings(BaseSettings):
    """Where this process runs. ``ALGODOCK_DATA_DIR``, ``ALGODOCK_NODE_ID``, ``ALGODOCK_EMBEDDED``."""

    model_config = _section("ALGODOCK_")

    data_dir: Path = Path(".algodock")
    node_id: str = Field(default_factory=lambda: platform.node() or "node")
    embedded: bool = Field(default=False, description="true under `./algodock up` with embedded servers")


class DatabaseSettings(BaseSettings):
    """``DATABASE_URL``: postgresql://user:password@host:port/database (asyncpg is put in)."""

    model_config = _section("DATABASE_")

    url: SecretStr
    pool_size: int = Field(default=10, ge=1)
    pool_timeout_s: float = Field(default=10, gt=0, description="seconds to wait for a connection when all are taken")

    def sqlalchemy_url(self) -> str:
        """Return the URL with the asyncpg driver named."""
        scheme, rest = self.url.get_secret_value().split("://", 1)
        return f"postgresql+asyncpg://{rest}" if scheme in {"postgres", "postgresql"} else f"{scheme}://{rest}"


class KafkaSettings(BaseSettings):
    """``KAFKA_BOOTSTRAP`` and tuning.

    ``fetch_wait_ms``, for requests of tasks ``fast_fetch_wait_ms``, are how long a fetch waits on the
    broker while events come, ``idle_fetch_wait_ms`` (for requests of tasks ``fetch_wait_ms``) when none
    came for a while. A broker that does not wake a waiting fetch (the embedded one) needs small values,
    Apache Kafka does not.
    """

    model_config = _section("KAFKA_")

    bootstrap: str
    fetch_wait_ms: int = Field(default=500, ge=1)
    fast_fetch_wait_ms: int = Field(default=500, ge=1)
    idle_fetch_wait_ms: int = Field(default=500, ge=1)
    send_timeout_s: float = Field(default=10, gt=0)
    max_poll_interval_s: float = Field(
        default=300, gt=0, description="a consumer that takes longer loses its partitions"
    )
    idempotent: bool = Field(default=False, description="needs a broker with InitProducerId")
    replication_factor: int = Field(default=1, ge=1)

    def waits_ms(self, *, fast: bool) -> tuple[int, int]:
        """Return how long a fetch waits while events come, and while none do."""
        return (self.fast_fetch_wait_ms, self.fetch_wait_ms) if fast else (self.fetch_wait_ms, self.idle_fetch_wait_ms)


class RedisSettings(BaseSettings):
    """``REDIS_URL``: redis://:password@host:port/0."""

    model_config = _section("REDIS_")

    url: SecretStr


class ObjectStoreSettings(BaseSettings):
    """``S3_ENDPOINT`` (a URL), ``S3_ACCESS_KEY``, ``S3_SECRET_KEY``, ``S3_BUCKET``, ``S3_PUBLIC_URL``."""

    model_config = _section("S3_")

    endpoint: str
    access_key: SecretStr
    secret_key: SecretStr
    bucket: str = "algodock"
    region: str = "us-east-1"
    public_url: str | None = Field(default=None, description="what presigned links start with; default: endpoint")


class SecretSettings(BaseSettings):
    """``SECRET_KEY``: the platform's one shared secret; what is used on the wire is derived from it.

    ``IDENTITY_PRIVATE_KEY`` (Ed25519, raw, base64) is the gateway's alone, ``IDENTITY_PUBLIC_KEY`` everybody's.
    """

    model_config = _section()

    secret_key: SecretStr = Field(min_length=32)
    identity_public_key: str | None = None
    identity_private_key: SecretStr | None = None

    def derive(self, purpose: str) -> bytes:
        """Return a 32-byte key for one purpose ("events", "service-token", "instance-token", …)."""
        return hmac.digest(self.secret_key.get_secret_value().encode(), f"algodock/{purpose}".encode(), hashlib.sha256)

    def service_token(self) -> str:
        """Return the bearer token that services show each other."""
        return self.derive("service-token").hex()


class PeerSettings(BaseSettings):
    """Where the services' HTTP listens for each other, and ``PUBLIC_URL``: where people find the gateway.

    ``PUBLIC_URL`` begins every link that leaves the platform. Default: ``GATEWAY_URL``.
    """

    model_config = _section()

    gitea_sync_url: str = "http://127.0.0.1:8011"
    deployer_url: str = "http://127.0.0.1:8012"
    registry_url: str = "http://127.0.0.1:8013"
    runner_url: str = "http://127.0.0.1:8014"
    gateway_url: str = "http://127.0.0.1:8010"
    public_url: Annotated[str, AfterValidator(lambda url: url.rstrip("/"))] = Field(
        default_factory=lambda known: known["gateway_url"], validate_default=True
    )


class LogSettings(BaseSettings):
    """``LOG_LEVEL``, ``LOG_FORMAT``."""

    model_config = _section("LOG_")

    level: Literal["debug", "info", "warning", "error"] = "info"
    format: Literal["json", "console"] = "json"


class TelemetrySettings(BaseSettings):
    """Traces: ``OTEL_SAMPLE_RATIO`` (0 to 1), and where spans go: OTLP over HTTP, a folder of JSON lines, or both."""

    model_config = _section("OTEL_")

    sample_ratio: float = Field(default=0.05, ge=0, le=1)
    exporter_otlp_endpoint: str | None = None
    traces_dir: Path | None = None


class HttpSettings(BaseSettings):
    """``HTTP_HOST`` and ``HTTP_PORT`` that this process listens on."""

    model_config = _section("HTTP_")

    host: str = "127.0.0.1"
    port: int = Field(ge=1, le=65535)


class CommonSettings:
    """Every section that all services read; a service's ``Settings`` subclasses it and adds its own."""

    def __init__(self) -> None:
        """Read every section from the environment.

        Raises:
            pydantic.ValidationError: a variable is missing or wrong; it names which.
        """
        self.platform = PlatformSettings()
        self.http = HttpSettings()
        self.database = DatabaseSettings()
        self.kafka = KafkaSettings()
        self.redis = RedisSettings()
        self.objects = ObjectStoreSettings()
        self.secrets = SecretSettings()
        self.peers = PeerSettings()
        self.logs = LogSettings()
        self.telemetry = TelemetrySettings()
