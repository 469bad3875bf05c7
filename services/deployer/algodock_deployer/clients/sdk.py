"""The SDK as it lies beside the platform: what goes into an environment that needs it."""

from __future__ import annotations

import hashlib
import importlib.metadata
import importlib.util
import shutil
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

from algodock_deployer.domain.requirements import SDK

__all__ = ["SdkPackage"]

MODULE = "algodock_sdk"


@dataclass(frozen=True)
class SdkPackage:
    """The SDK's folder and what it requires; it is copied, so that no index has to know it."""

    folder: Path
    requires: tuple[str, ...]

    @classmethod
    def installed(cls) -> SdkPackage:
        """Return the SDK that is installed beside the platform.

        Raises:
            ModuleNotFoundError: there is none.
        """
        spec = importlib.util.find_spec(MODULE)
        if spec is None or not spec.submodule_search_locations:
            msg = f"the platform's environment has no {MODULE}"
            raise ModuleNotFoundError(msg)
        lines = importlib.metadata.requires(SDK) or []
        return cls(
            Path(next(iter(spec.submodule_search_locations))),
            tuple(line for line in lines if "extra ==" not in line),
        )

    @cached_property
    def version(self) -> str:
        """Return a digest of the SDK's files: a changed SDK makes new environments."""
        digest = hashlib.sha256()
        for path in sorted(self.folder.rglob("*")):
            if path.is_file() and "__pycache__" not in path.parts:
                digest.update(f"{path.relative_to(self.folder)}\0".encode())
                digest.update(path.read_bytes())
        return digest.hexdigest()[:16]

    def copy_into(self, site_packages: Path) -> None:
        """Put the SDK into an environment."""
        shutil.copytree(self.folder, site_packages / MODULE, ignore=shutil.ignore_patterns("__pycache__"))
