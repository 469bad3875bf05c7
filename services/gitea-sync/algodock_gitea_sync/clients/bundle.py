"""Makes a commit's source bundle: a ``tar.gz`` of exactly the commit's files, the same bytes for the same commit.

The files come straight from the object database: no working tree, no attributes, no filters.
"""

from __future__ import annotations

import asyncio
import gzip
import tarfile
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from algodock_gitea_sync.clients.objects import Commit, ObjectReader
from algodock_gitea_sync.domain.errors import UnsafeTree
from algodock_gitea_sync.domain.tree import EntryKind, TreeChecker, TreeLimits

if TYPE_CHECKING:
    from collections.abc import Iterator

    from algodock_gitea_sync.clients.git import Git

__all__ = ["Bundle", "Bundler"]

_FAST = 1


@dataclass(frozen=True, slots=True)
class Bundle:
    """A commit and its bundle's file; ``problem`` says why there is none."""

    commit: Commit
    path: Path | None
    files: int = 0
    total_bytes: int = 0
    problem: str | None = None


@dataclass(frozen=True, slots=True)
class Bundler:
    """Makes bundles in ``folder`` (the caller removes each when it is stored)."""

    git: Git
    folder: Path
    limits: TreeLimits

    async def make(self, git_dir: Path, commit_id: str) -> Bundle:
        """Make the bundle of ``commit_id`` out of the bare repository ``git_dir``.

        A tree that breaks a rule gives a bundle with a ``problem``.

        Raises:
            GitFailed: the repository has no such commit, or is damaged.
            OSError: the disk is full or the folder is gone.
        """
        return await asyncio.to_thread(self._make, git_dir, commit_id)

    def _make(self, git_dir: Path, commit_id: str) -> Bundle:
        self.folder.mkdir(parents=True, exist_ok=True)
        with ObjectReader(self.git.program, git_dir, self.git.environment()) as reader:
            commit = reader.commit(commit_id)
            checker = TreeChecker(self.limits)
            with tempfile.NamedTemporaryFile(dir=self.folder, suffix=".tar.gz", delete=False) as draft:
                path = Path(draft.name)
                try:
                    # every name is checked before the first file is read
                    entries = list(_walk(reader, checker, commit.tree))
                    if not checker.files:
                        raise UnsafeTree("the commit has no files")  # noqa: TRY301  # a rule like the others
                    # without a name and a time in the gzip header the same commit gives the same bytes
                    with (
                        gzip.GzipFile("", "wb", compresslevel=_FAST, fileobj=draft, mtime=0) as packed,
                        tarfile.open(fileobj=packed, mode="w|", format=tarfile.PAX_FORMAT, bufsize=1 << 18) as archive,
                    ):
                        for name, kind, object_id in entries:
                            _add(archive, reader, checker, name, kind, object_id, commit.time)
                except UnsafeTree as error:
                    path.unlink(missing_ok=True)
                    return Bundle(commit, None, checker.files, checker.total_bytes, problem=error.detail)
                except BaseException:
                    path.unlink(missing_ok=True)
                    raise
            return Bundle(commit, path, checker.files, checker.total_bytes)


def _walk(
    reader: ObjectReader, checker: TreeChecker, tree: str, folder: str = ""
) -> Iterator[tuple[str, EntryKind, str]]:
    for entry in reader.tree(tree):
        path, kind = checker.entry(entry.name, entry.mode, folder)
        yield path, kind, entry.id
        if kind is EntryKind.FOLDER:
            yield from _walk(reader, checker, entry.id, f"{path}/")


def _add(  # one entry of one archive
    archive: tarfile.TarFile,
    reader: ObjectReader,
    checker: TreeChecker,
    path: str,
    kind: EntryKind,
    object_id: str,
    time: int,
) -> None:
    info = tarfile.TarInfo(path)
    info.mtime = time
    if kind is EntryKind.FOLDER:
        info.type, info.mode = tarfile.DIRTYPE, 0o755
        archive.addfile(info)
        return
    size, content = reader.blob(object_id)
    checker.size(path, size)
    info.size, info.mode = size, 0o755 if kind is EntryKind.PROGRAM else 0o644
    archive.addfile(info, content)
