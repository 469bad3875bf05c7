"""What gitea-sync reads from the environment, besides the sections that all services read."""

from __future__ import annotations

from pathlib import Path

from pydantic import Field, SecretStr
from pydantic_settings import BaseSettings, SettingsConfigDict

from algodock_common.settings import CommonSettings

__all__ = ["GitSettings", "GiteaSettings", "Settings"]

MIB = 2**20


class GitSettings(BaseSettings):
    """``GIT_*``: the built-in forge, bundles, the poller. Sizes are bytes, times seconds."""

    model_config = SettingsConfigDict(env_prefix="GIT_", extra="ignore", frozen=True)

    max_push_bytes: int = Field(default=500 * MIB, ge=1, description="a push or an upload; past it 413")
    max_files: int = Field(default=20_000, ge=1, description="files in one commit")
    max_file_bytes: int = Field(default=500 * MIB, ge=1)
    max_tree_bytes: int = Field(default=1024 * MIB, ge=1, description="all files of a commit, unpacked")
    max_webhook_bytes: int = Field(default=2 * MIB, ge=1024)
    idle_timeout_s: float = Field(default=120, gt=0, description="a fetch or push whose bytes stand still is ended")
    fetch_timeout_s: float = Field(default=300, gt=0, description="fetching a commit from another forge")
    poll_interval_s: float = Field(default=30, gt=0, description="how often branch heads are read without a webhook")
    webhook_wait_s: float = Field(default=4, gt=0, description="how long a webhook's sender waits for the outcome")
    hook_wait_s: float = Field(default=60, ge=0, le=60, description="how long a push shows its deploy")
    bundle_keep_s: float = Field(default=7 * 86_400, gt=0, description="how long superseded bundles are kept")
    delivery_keep_s: float = Field(default=90 * 86_400, gt=0, description="how long webhook deliveries are kept")
    allowed_hosts: str = Field(default="", description="other git servers to deploy from, host[:port], by commas")
    ca_file: Path | None = Field(default=None, description="certificates for other forges; default: the system's")

    def hosts(self) -> frozenset[str]:
        """Return the other git servers that may be cloned from."""
        return frozenset(host for part in self.allowed_hosts.split(",") if (host := part.strip().lower()))


class GiteaSettings(BaseSettings):
    """``GITEA_*``: defaults for the Gitea that is used until somebody saves a configuration."""

    model_config = SettingsConfigDict(env_prefix="GITEA_", extra="ignore", frozen=True)

    server_url: str = ""
    access_token: SecretStr = SecretStr("")
    default_owner: str = ""
    repo_prefix: str = ""
    timeout_s: float = Field(default=10, gt=0)


class Settings(CommonSettings):
    """Everything that gitea-sync reads."""

    def __init__(self) -> None:
        """Read the environment.

        Raises:
            pydantic.ValidationError: a variable is missing or wrong; it names which.
        """
        super().__init__()
        self.git = GitSettings()
        self.gitea = GiteaSettings()
