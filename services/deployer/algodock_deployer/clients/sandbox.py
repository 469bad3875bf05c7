"""Another uid for what strangers wrote: whether it can be had here, and giving it the folders that are its own."""

from __future__ import annotations

import os
import shutil
import stat
from pathlib import Path

__all__ = ["Sandbox"]


class Sandbox:
    """Hands out uids: one for builds, one for each service. Off unless the platform runs as root.

    A program can only run as somebody else when everything it reads can be reached by others:
    ``obstacle`` tells for a path which folder is closed.
    """

    def __init__(self, base_uid: int, *, wanted: bool = True) -> None:
        """``base_uid`` is the builder's; a service's is ``base_uid`` plus its number."""
        self._base = base_uid
        self._off = (
            "it is switched off" if not wanted
            else "the platform does not run as root" if os.geteuid() != 0
            else "there is no setpriv" if shutil.which("setpriv") is None
            else ""
        )  # fmt: skip

    @property
    def off(self) -> str:
        """Return why nothing can run as another uid, or an empty string."""
        return self._off

    def obstacle(self, *paths: Path) -> str:
        """Return why another uid cannot use ``paths``, or an empty string."""
        if self._off:
            return self._off
        for path in paths:
            real = path.resolve()
            for folder in [*reversed(real.parents), real]:
                try:
                    mode = folder.stat().st_mode
                except OSError as error:
                    return f"{folder}: {error.strerror}"
                if not mode & stat.S_IXOTH and (folder != real or stat.S_ISDIR(mode) or os.access(real, os.X_OK)):
                    return f"{folder} is closed to other users"
        return ""

    def uid(self, number: int, *paths: Path) -> int | None:
        """Return the uid of service ``number`` (0: the builder), or None when ``paths`` or the platform forbid it."""
        return None if self.obstacle(*paths) else self._base + number

    @staticmethod
    def show(folder: Path, uid: int | None) -> None:
        """Let ``uid`` read ``folder`` and all in it and change nothing; what could run still can."""
        if uid is None:
            return
        for root, folders, files in os.walk(folder):
            for path in (Path(root) / name for name in (*folders, *files)):
                _show(path, uid)
        _show(folder, uid)

    @staticmethod
    def give(folder: Path, uid: int | None) -> None:
        """Make ``folder`` and all in it belong to ``uid``, closed to others; links are not followed."""
        if uid is None:
            return
        for root, folders, files in os.walk(folder):
            for name in (*folders, *files):
                os.chown(Path(root) / name, uid, uid, follow_symlinks=False)
        os.chown(folder, uid, uid, follow_symlinks=False)
        folder.chmod(0o750)


def _show(path: Path, uid: int) -> None:
    """Make the platform the owner and ``uid`` the group, which may read."""
    os.chown(path, os.geteuid(), uid, follow_symlinks=False)
    if not path.is_symlink():
        mode = stat.S_IMODE(path.lstat().st_mode)
        path.chmod((mode & 0o700) | stat.S_IRUSR | ((mode & 0o500) >> 3) | stat.S_IRGRP)
