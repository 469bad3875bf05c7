"""The folder in which one platform keeps all it has on this machine, and where in it each thing lies."""

from __future__ import annotations

import fcntl
import hashlib
import os
import stat
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from algodock_cli.stack.errors import StackBusy

__all__ = ["DataFolder", "project_folder"]

_CLOSED = ("run", "logs", "servers", "git", "forge", "mirrors", "algorithms")
_SOCKET_PATH_BYTES = 100  # the kernel takes 107, and supervisord adds its pid while it makes one


def project_folder() -> Path:
    """Return the checkout that this code belongs to."""
    return Path(__file__).resolve().parents[3]


@dataclass(frozen=True)
class DataFolder:
    """``.algodock/`` of the checkout, or what ``ALGODOCK_DATA_DIR`` says."""

    path: Path

    @classmethod
    def here(cls, environment: Mapping[str, str]) -> DataFolder:
        """Return the data folder that the environment means, made if need be (mode 0711)."""
        return cls.at(Path(environment.get("ALGODOCK_DATA_DIR") or project_folder() / ".algodock").expanduser())

    @classmethod
    def at(cls, path: Path) -> DataFolder:
        """Return the data folder of that path, made if need be (mode 0711).

        Others may pass through it, because algorithms run as other users where the platform is root,
        but not look into it; what is the platform's alone lies in folders of mode 0700.
        """
        path.mkdir(parents=True, exist_ok=True, mode=0o711)
        now = path.stat()
        if now.st_uid == os.geteuid() and stat.S_IMODE(now.st_mode) == 0o700:  # noqa: PLR2004  # as others make it
            path.chmod(0o711)
        for name in _CLOSED:
            (path / name).mkdir(mode=0o700, exist_ok=True)
        return cls(path.resolve())

    @property
    def run(self) -> Path:
        """What the running platform's processes are declared by: programs, pids, supervisord's files."""
        return self.path / "run"

    @property
    def logs(self) -> Path:
        """One log a program."""
        return self.path / "logs"

    @property
    def servers(self) -> Path:
        """The embedded servers' data, a folder each."""
        return self.path / "servers"

    @property
    def algorithms(self) -> Path:
        """Files of the supervisord under which the deployer runs algorithms."""
        return self.path / "algorithms"

    @property
    def services_root(self) -> Path:
        """``SERVICE_ROOT_DIR``: releases, environments and logs of the algorithms."""
        return self.path / "services"

    @property
    def secrets_file(self) -> Path:
        """The random secrets of this platform."""
        return self.path / "secrets.json"

    @property
    def ports_file(self) -> Path:
        """The ports that the servers and services had last."""
        return self.path / "ports.json"

    @property
    def credentials_file(self) -> Path:
        """The first API key and its callback secret, written by the gateway."""
        return self.path / "credentials.json"

    def socket(self, name: str) -> Path:
        """Return where a unix socket of that name lies: beside the rest, or in a short private folder.

        The kernel limits such a path to about a hundred characters, and data folders may lie deep.
        """
        path = self.run / name
        if len(os.fsencode(path)) <= _SOCKET_PATH_BYTES:
            return path
        digest = hashlib.sha256(os.fsencode(self.path)).hexdigest()[:16]
        folder = Path(tempfile.gettempdir()) / f"algodock-{os.geteuid()}-{digest}"
        folder.mkdir(mode=0o700, exist_ok=True)
        if folder.stat().st_uid != os.geteuid():
            raise PermissionError(f"{folder} belongs to somebody else")
        return folder / name

    @contextmanager
    def held(self) -> Iterator[None]:
        """Hold the folder against another ``up``, ``down`` or ``reset``.

        Raises:
            StackBusy: another one works on it.
        """
        with (self.path / "lock").open("a", encoding="ascii") as lock:
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                raise StackBusy(f"another algodock command works on {self.path}; wait for it") from None
            yield  # what is started meanwhile does not inherit the lock: Python's descriptors are close-on-exec
