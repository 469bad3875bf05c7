"""What the deployer reads from the environment."""

from __future__ import annotations

import os
import shutil
import sys
from pathlib import Path
from typing import Literal
from urllib.parse import urlsplit

import psutil
from pydantic import Field, SecretStr, model_validator
from pydantic_settings import BaseSettings, SettingsConfigDict

from algodock_common.settings import CommonSettings
from algodock_deployer.clients.docker_engine import SOCKET
from algodock_deployer.domain.edge import Site
from algodock_deployer.domain.folders import Folders
from algodock_deployer.domain.modes import Modes, modes_of

__all__ = ["DeployerSettings", "EdgeSettings", "Settings"]


class DeployerSettings(BaseSettings):
    """``SERVICE_ROOT_DIR``, ``SUPERVISOR_CONFIG_DIR``, ``UV``, the hubs' and ``DEPLOYER_*``; times in seconds."""

    model_config = SettingsConfigDict(extra="ignore", frozen=True)

    service_root_dir: Path | None = None
    supervisor_config_dir: Path | None = Field(default=None, description="where programs' files are written")
    supervisor_url: SecretStr | None = Field(
        default=None, description="a supervisord that runs already: unix:///… or http://user:password@host:port"
    )
    docker_host: str | None = Field(
        default=None, description="the Docker Engine; default: its socket, where there is one"
    )
    deployer_docker_image: str = Field(default="", description="runs what has no Dockerfile; Dockerfiles' BASE")
    uv: str | None = Field(default=None, description="the uv that builds environments; default: found on PATH")
    deployer_parallel: int = Field(default=4, ge=1, le=64, description="services that are worked on at once")
    deployer_start_timeout: float = Field(default=120, gt=0)
    deployer_build_timeout: float = Field(default=1800, gt=0)
    deployer_samples_timeout: float = Field(default=60, ge=0, description="for all samples together; 0: none is run")
    deployer_rollback_window: float = Field(default=300, ge=0, description="how long a new release is watched; 0: not")
    deployer_keep_releases: int = Field(default=5, ge=1)
    deployer_max_source_bytes: int = Field(default=4 * 2**30, gt=0)
    deployer_min_free_bytes: int = Field(default=512 * 2**20, ge=0)
    deployer_reconcile_interval: float = Field(default=2, gt=0)
    health_check_interval: float = Field(default=10, gt=0, le=300, description="between two looks at /health")
    deployer_sandbox: bool = Field(default=True, description="run strangers' code as another uid, where possible")
    deployer_max_memory: int | None = Field(
        default=None, gt=0, description="bytes of an instance whose manifest declares none; default: 3/4 of the machine"
    )
    deployer_max_processes: int = Field(default=512, ge=16, description="processes and threads of one instance")
    deployer_max_file_bytes: int = Field(default=8 * 2**30, ge=2**20, description="of one file that a program writes")
    deployer_cgroups: bool = Field(default=True, description="hold instances by control groups, where there are some")
    deployer_wheels: Path | None = Field(default=None, description="a folder of packages beside the index")
    deployer_offline: bool = Field(default=False, description="builds ask for nothing over the network")
    hf_endpoint: str = Field(default="https://huggingface.co", description="the hub of hf:// models, or its mirror")
    modelscope_domain: str = Field(default="", description="ModelScope's host, or a mirror's URL; default: its own")
    deployer_nvidia_smi: str | None = Field(default=None, description="lists GPUs; default: found on PATH; empty: none")
    deployer_sandbox_uid: int = Field(default=61_200, ge=1000, description="the builder's; services' come after it")


class EdgeSettings(BaseSettings):
    """``EDGE``, ``EDGE_*`` and ``NGINX_BINARY``: the nginx in front, where one is wanted; lists have commas."""

    model_config = SettingsConfigDict(env_prefix="EDGE_", extra="ignore", frozen=True)

    edge: Literal["off", "nginx"] = Field(default="off", validation_alias="EDGE")
    binary: str = Field(default="nginx", validation_alias="NGINX_BINARY")
    http: str = Field(default="127.0.0.1:8080", description="address and port; with a certificate it leads to https")
    https: str = "127.0.0.1:8443"
    grpc: str = "127.0.0.1:6006"
    gateways: str = Field(default="", description="host:port of each; default: the one of GATEWAY_URL")
    server_names: str = ""
    tls_certificate: str = ""
    tls_key: str = ""
    hsts_s: int = Field(default=31_536_000, ge=0, description="0: no such header")
    acme_dir: str = Field(default="", description="the webroot that certbot writes its challenges to")
    trusted_proxies: str = Field(default="", description="networks whose X-Forwarded-For counts")
    grpc_allow: str = Field(default="", description="networks that may call at the gRPC port; default: all")
    grpc_deny: str = ""
    workers: str = Field(default="auto", pattern=r"^(auto|\d{1,3})$")
    user: str = Field(default="", description="of nginx's workers where the deployer is root; default: nginx's own")

    @model_validator(mode="after")
    def _whole_certificate(self) -> EdgeSettings:
        if bool(self.tls_certificate) != bool(self.tls_key):
            msg = "EDGE_TLS_CERTIFICATE and EDGE_TLS_KEY belong together"
            raise ValueError(msg)
        return self


class Settings(CommonSettings):
    """The common sections and the deployer's own."""

    def __init__(self) -> None:
        """Read everything from the environment.

        Raises:
            pydantic.ValidationError: a variable is missing or wrong.
        """
        super().__init__()
        self.deployer = DeployerSettings()
        self.edge = EdgeSettings()

    def modes(self) -> Modes:
        """Return which driver runs what: ``DEPLOYMENT_MODE`` and ``ALGODOCK_SERVICE_<NAME>_DEPLOYMENT_MODE``.

        Raises:
            ValueError: a variable names a mode that there is none of.
        """
        return modes_of(os.environ)

    def max_memory(self) -> int:
        """Return the bytes of an instance that declares none: not so many that it takes the machine down."""
        return self.deployer.deployer_max_memory or psutil.virtual_memory().total // 4 * 3

    def docker_url(self) -> str | None:
        """Return where the Docker Engine listens, None where there is none."""
        return self.deployer.docker_host or (f"unix://{SOCKET}" if SOCKET.exists() else None)

    def folders(self) -> Folders:
        """Return where everything lies."""
        data = self.platform.data_dir.absolute()
        default = data / "services" if self.platform.embedded else Path("/opt/ai-services")
        return Folders(data, (self.deployer.service_root_dir or default).absolute())

    def programs_folder(self) -> Path:
        """Return where the programs' supervisord files are written."""
        configured = self.deployer.supervisor_config_dir
        if self.deployer.supervisor_url:
            return (configured or Path("/etc/supervisor/conf.d")).absolute()
        return configured.absolute() if configured else self.folders().algorithms / "programs"

    def nvidia_smi_path(self) -> str | None:
        """Return what lists the machine's GPUs, None where nothing does."""
        own = self.deployer.deployer_nvidia_smi
        return shutil.which("nvidia-smi") if own is None else own or None

    def site(self) -> Site:
        """Return how the edge is to be reached, and what stands behind it."""
        edge = self.edge
        return Site(
            folder=self.folders().algorithms / "edge",
            gateways=_listed(edge.gateways) or (urlsplit(self.peers.gateway_url).netloc,),
            service_token=self.secrets.service_token(),
            http=edge.http,
            https=edge.https,
            grpc=edge.grpc,
            server_names=_listed(edge.server_names),
            certificate=edge.tls_certificate,
            certificate_key=edge.tls_key,
            hsts_s=edge.hsts_s,
            acme_folder=edge.acme_dir,
            proxies=_listed(edge.trusted_proxies),
            allow=_listed(edge.grpc_allow),
            deny=_listed(edge.grpc_deny),
            workers=edge.workers,
            user=edge.user if os.geteuid() == 0 else "",
        )

    def nginx_path(self) -> str:
        """Return the nginx to run, also where Debian puts it; one that cannot be found fails with its name."""
        search = os.pathsep.join([os.environ.get("PATH", os.defpath), "/usr/local/sbin", "/usr/sbin"])
        return shutil.which(self.edge.binary, path=search) or self.edge.binary

    def uv_path(self) -> str:
        """Return the uv to build with; a name that cannot be found fails at the first build, with that name."""
        beside = Path(sys.executable).parent / "uv"
        search = os.pathsep.join([os.environ.get("PATH", os.defpath), str(Path.home() / ".local" / "bin")])
        return self.deployer.uv or (str(beside) if beside.exists() else shutil.which("uv", path=search) or "uv")


def _listed(text: str) -> tuple[str, ...]:
    return tuple(part.strip() for part in text.split(",") if part.strip())
