"""Where everything of the deployer lies on disk: the layout that teams' scripts already know."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from pathlib import Path
from uuid import UUID

__all__ = ["Folders"]


@dataclass(frozen=True)
class Folders:
    """``services`` is ``service.root.dir``; ``data`` is the platform's own folder."""

    data: Path
    services: Path

    @property
    def digest(self) -> str:
        """Return a short name of this platform among others on the machine."""
        return hashlib.sha256(str(self.data).encode()).hexdigest()[:12]

    @property
    def environments(self) -> Path:
        """Return where environments and the builds' shared cache lie."""
        return self.data / "environments"

    @property
    def models(self) -> Path:
        """Return the machine's shared cache of models."""
        return self.data / "models"

    @property
    def algorithms(self) -> Path:
        """Return where the algorithms' supervisord has its files."""
        return self.data / "algorithms"

    @property
    def config(self) -> Path:
        """Return where the generated modules lie."""
        return self.services / "config"

    @property
    def import_path(self) -> Path:
        """Return a folder on the programs' path that holds ``config`` and nothing else."""
        return self.services / ".python"

    @property
    def logs(self) -> Path:
        """Return where the stable log names lie."""
        return self.services / "logs"

    def service(self, name: str) -> Path:
        """Return a service's folder."""
        return self.services / name

    def home(self, name: str) -> Path:
        """Return the home folder of a service's programs."""
        return self.service(name) / "home"

    def release(self, name: str, release_id: UUID) -> Path:
        """Return a release's folder."""
        return self.service(name) / "releases" / str(release_id)

    def code(self, name: str, release_id: UUID) -> Path:
        """Return where a release's source is unpacked; its programs work there."""
        return self.release(name, release_id) / "code"

    def model_notes(self, name: str, release_id: UUID) -> Path:
        """Return the file that says which cached models a release stands on."""
        return self.release(name, release_id) / "models.json"

    def token(self, name: str, release_id: UUID, program: str) -> Path:
        """Return the file with an instance's own token."""
        return self.release(name, release_id) / "programs" / f"{program}.token"

    def secrets(self, name: str, release_id: UUID, program: str) -> Path:
        """Return the file with an instance's secrets; it goes with the instance."""
        return self.release(name, release_id) / "programs" / f"{program}.secrets"

    def temporary(self, name: str, program: str) -> Path:
        """Return the temporary folder of one program."""
        return self.home(name) / "tmp" / program

    @property
    def build_logs(self) -> Path:
        """Return where the builds' output is written."""
        return self.data / "builds"

    def build_log(self, release_id: UUID) -> Path:
        """Return the file that a build writes to."""
        return self.build_logs / f"{release_id}.log"

    def program_log(self, program: str, stream: str) -> Path:
        """Return the log of one program; ``stream`` is ``stdout`` or ``stderr``."""
        return self.logs / "releases" / f"{program}{'_error' if stream == 'stderr' else ''}.log"

    def stable_log(self, name: str, stream: str) -> Path:
        """Return the log's name that needs no release."""
        return self.logs / f"{name}{'_error' if stream == 'stderr' else ''}.log"
