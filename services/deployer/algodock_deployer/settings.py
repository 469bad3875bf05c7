"""What the deployer reads from the environment."""

from __future__ import annotations

import os
import shutil
import sys
from pathlib import Path

import psutil
from pydantic import Field, SecretStr
from pydantic_settings import BaseSettings, SettingsConfigDict

from algodock_common.settings import CommonSettings
from algodock_deployer.clients.docker_engine import SOCKET
from algodock_deployer.domain.folders import Folders
from algodock_deployer.domain.modes import Modes, modes_of

__all__ = ["DeployerSettings", "Settings"]


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
    hf_endpoint: str = Field(default="https://huggingface.co", description="the hub of hf:// models, or its mirror")
    modelscope_domain: str = Field(default="", description="ModelScope's host, or a mirror's URL; default: its own")
    deployer_nvidia_smi: str | None = Field(default=None, description="lists GPUs; default: found on PATH; empty: none")
    deployer_sandbox_uid: int = Field(default=61_200, ge=1000, description="the builder's; services' come after it")


class Settings(CommonSettings):
    """The common sections and the deployer's own."""

    def __init__(self) -> None:
        """Read everything from the environment.

        Raises:
            pydantic.ValidationError: a variable is missing or wrong.
        """
        super().__init__()
        self.deployer = DeployerSettings()

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

    def uv_path(self) -> str:
        """Return the uv to build with; a name that cannot be found fails at the first build, with that name."""
        beside = Path(sys.executable).parent / "uv"
        search = os.pathsep.join([os.environ.get("PATH", os.defpath), str(Path.home() / ".local" / "bin")])
        return self.deployer.uv or (str(beside) if beside.exists() else shutil.which("uv", path=search) or "uv")
