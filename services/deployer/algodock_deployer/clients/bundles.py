"""Unpacks a source bundle with all the care that a stranger's archive needs, whoever made it."""

from __future__ import annotations

import io
import os
import shutil
import tarfile
from pathlib import Path

from algodock_deployer.domain.errors import SourceRefused
from algodock_deployer.domain.manifest import relative_path

__all__ = ["FolderSource", "unpack"]

MAX_FILES = 20_000
MAX_BYTES = 4 * 2**30
MAX_NAME = 255
MAX_PATH = 1024


def unpack(bundle: bytes | Path, folder: Path, *, max_bytes: int = MAX_BYTES, max_files: int = MAX_FILES) -> int:
    """Unpack a ``tar.gz`` into ``folder``, which must not exist; return how many files it had.

    Only plain files and folders are taken. The folder appears whole or not at all.

    Raises:
        SourceRefused: it holds a link, a special file, a path that leaves the folder, or too much; or is no archive.
    """
    partial = folder.with_name(f".{folder.name}.partial")
    shutil.rmtree(partial, ignore_errors=True)
    partial.mkdir(parents=True)
    try:
        count = _unpack_into(bundle, partial, max_bytes, max_files)
        partial.rename(folder)
    except (tarfile.TarError, EOFError, OSError) as error:
        if isinstance(error, OSError) and error.errno is not None:
            raise
        msg = f"{type(error).__name__}: the bundle cannot be read: {error}"
        raise SourceRefused(msg) from error
    finally:
        shutil.rmtree(partial, ignore_errors=True)
    return count


def _unpack_into(bundle: bytes | Path, folder: Path, max_bytes: int, max_files: int) -> int:
    stream = io.BytesIO(bundle) if isinstance(bundle, bytes) else bundle.open("rb")
    seen: set[str] = set()
    made: set[Path] = {folder}
    total = count = 0
    with stream, tarfile.open(fileobj=stream, mode="r:gz") as archive:
        for member in archive:
            if member.isdir() and member.name in {".", "./", ""}:
                continue
            path = _checked(member, seen)
            count, total = count + 1, total + member.size
            if count > max_files:
                msg = f"the bundle has more than {max_files} files"
                raise SourceRefused(msg)
            if total > max_bytes:
                msg = f"the bundle is larger than {max_bytes} bytes when unpacked"
                raise SourceRefused(msg)
            target = folder / path
            parent = target if member.isdir() else target.parent
            if parent not in made:
                _make_folder(parent, member)
                made.add(parent)
            if member.isfile():
                _write(archive, member, target)
    return count


def _checked(member: tarfile.TarInfo, seen: set[str]) -> str:
    """Return the member's path, or refuse it."""
    name = member.name.removeprefix("./")
    if member.issym() or member.islnk():
        msg = f"{name!r} is a link; links are not deployed"
        raise SourceRefused(msg)
    if not (member.isfile() or member.isdir()):
        msg = f"{name!r} is neither a file nor a folder"
        raise SourceRefused(msg)
    try:
        path = relative_path(name)
    except ValueError as error:
        raise SourceRefused(str(error)) from error
    if len(path) > MAX_PATH or any(len(part.encode()) > MAX_NAME for part in path.split("/")):
        msg = f"{name[:80]!r}… is too long a name"
        raise SourceRefused(msg)
    if member.isfile():
        if path in seen:
            msg = f"{name!r} is in the bundle twice"
            raise SourceRefused(msg)
        seen.add(path)
    return path


def _make_folder(folder: Path, member: tarfile.TarInfo) -> None:
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except (FileExistsError, NotADirectoryError) as error:
        msg = f"{member.name!r} lies in what is a file"
        raise SourceRefused(msg) from error


def _write(archive: tarfile.TarFile, member: tarfile.TarInfo, target: Path) -> None:
    content = archive.extractfile(member)
    if content is None:
        msg = f"{member.name!r} has no content"
        raise SourceRefused(msg)
    flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW
    try:
        descriptor = os.open(target, flags, 0o755 if member.mode & 0o100 else 0o644)
    except (FileExistsError, IsADirectoryError, NotADirectoryError) as error:
        msg = f"{member.name!r} is a file and a folder at once"
        raise SourceRefused(msg) from error
    with os.fdopen(descriptor, "wb") as file:
        shutil.copyfileobj(content, file, 1024 * 1024)


class FolderSource:
    """A release's unpacked source, as the domain reads it; what lies outside is not there whatever path leads there."""

    def __init__(self, folder: Path) -> None:
        """Read below ``folder``."""
        self._folder = folder.resolve()

    def has(self, path: str) -> bool:
        """Return whether ``path`` is a file of the release."""
        try:
            return self._inside(path) and (self._folder / path).is_file()
        except (OSError, ValueError):  # too long, or nothing that a path can be
            return False

    def read(self, path: str) -> bytes:
        """Return the content of ``path``; FileNotFoundError when there is none."""
        if not self._inside(path):
            raise FileNotFoundError(path)
        return (self._folder / path).read_bytes()

    def top(self) -> list[str]:
        """Return the names in the topmost folder."""
        return sorted(entry.name for entry in self._folder.iterdir())

    def _inside(self, path: str) -> bool:
        return (self._folder / path).resolve().is_relative_to(self._folder)
