"""The object store; embedded, from the wheel ``nanio``: S3 over plain files under the data folder."""

from __future__ import annotations

import os
import sys
from importlib.util import find_spec
from typing import Final

from algodock_cli.stack.errors import ServerMissing
from algodock_cli.stack.programs import Program
from algodock_cli.stack.servers import nanio_processes
from algodock_cli.stack.servers.base import OBJECTS_NICE, ServerContext
from algodock_cli.stack.servers.probes import s3_answers

__all__ = ["NanioStore", "embedded"]

PROCESSES: Final = 2 if sys.platform == "linux" else 1
"""One waits for the disk with each object that it writes; the other serves meanwhile. Elsewhere than on Linux nothing
ends the others with a first one that is killed."""
QUIET: Final = ("--no-access-log", "--log-level", "warning")


def embedded(context: ServerContext) -> NanioStore:
    """Return the object store out of the wheel.

    Raises:
        ServerMissing: the wheel is not installed.
    """
    if find_spec("nanio") is None:
        raise ServerMissing("the object store's wheel (nanio) is not installed here; set S3_ENDPOINT")
    return NanioStore(context)


class NanioStore:
    """The embedded object store."""

    name = "objects"

    def __init__(self, context: ServerContext) -> None:
        """Declare it; nothing is started or written yet."""
        self._context = context

    def prepare(self) -> None:
        """Make the folder of its buckets."""
        (self._context.folder / "buckets").mkdir(parents=True, exist_ok=True, mode=0o700)

    def program(self) -> Program:
        """Return the server's program; its keys are in the environment, not in the command."""
        arguments = ("--host", "127.0.0.1", "--port", str(self._context.port), "--workers", str(PROCESSES))
        return Program(
            name=self.name,
            command=(sys.executable, "-I", "-m", nanio_processes.__name__, "serve", *arguments, *QUIET),
            environment={
                "PATH": os.defpath,
                "TZ": "UTC",
                "NANIO_DATA_DIR": str(self._context.folder / "buckets"),
                "NANIO_ACCESS_KEY": self._context.secrets.s3_access_key,
                "NANIO_SECRET_KEY": self._context.secrets.s3_secret_key,
            },
            directory=self._context.folder,
            stop_seconds=5,
            nice=OBJECTS_NICE,
        )

    def environment(self) -> dict[str, str]:
        """Return ``S3_ENDPOINT`` and the keys."""
        return self._context.object_store()

    def is_ready(self) -> bool:
        """Say whether it speaks HTTP."""
        return s3_answers(self._context.http_address)
