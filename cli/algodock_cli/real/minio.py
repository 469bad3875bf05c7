"""MinIO on one folder, on the loopback address."""

from __future__ import annotations

import os
from pathlib import Path

from algodock_cli.stack.programs import Program
from algodock_cli.stack.readiness import ask
from algodock_cli.stack.servers import OBJECTS_NICE, ServerContext

__all__ = ["Minio"]


class Minio:
    """One MinIO; its buckets lie in ``<folder>/buckets``."""

    name = "objects"

    def __init__(self, context: ServerContext, binary: Path) -> None:
        """Declare it; nothing is started or written yet."""
        self._context = context
        self._binary = binary

    def prepare(self) -> None:
        """Make the folder of its buckets."""
        (self._context.folder / "buckets").mkdir(parents=True, exist_ok=True, mode=0o700)

    def program(self) -> Program:
        """Return the server's program; its keys are in the environment."""
        folder = self._context.folder
        places = ("--address", f"127.0.0.1:{self._context.port}", "--certs-dir", str(folder / "certs"))
        return Program(
            name=self.name,
            command=(str(self._binary), "server", *places, str(folder / "buckets")),
            environment={
                "PATH": os.defpath,
                "HOME": str(folder),
                "TZ": "UTC",
                "MINIO_BROWSER": "off",
                "MINIO_UPDATE": "off",
                "MINIO_ROOT_USER": self._context.secrets.s3_access_key,
                "MINIO_ROOT_PASSWORD": self._context.secrets.s3_secret_key,
            },
            directory=folder,
            nice=OBJECTS_NICE,
        )

    def environment(self) -> dict[str, str]:
        """Return ``S3_ENDPOINT`` and the keys."""
        return self._context.object_store()

    def is_ready(self) -> bool:
        """Say whether it takes requests."""
        return ask(self._context.port, "/minio/health/ready").ready
