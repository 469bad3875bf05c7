"""The built-in forge: bare repositories in the data folder, served by ``git http-backend``."""

from __future__ import annotations

import asyncio
import contextlib
import re
import shutil
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from algodock_gitea_sync.clients.fast_import import fast_import
from algodock_gitea_sync.clients.forge import Created
from algodock_gitea_sync.clients.git import GitFailed
from algodock_gitea_sync.domain.errors import ForgeFailed, UploadConflict
from algodock_gitea_sync.domain.names import check_branch, check_label
from algodock_gitea_sync.domain.repository import BUILTIN_OWNER

if TYPE_CHECKING:
    from algodock_gitea_sync.clients.forge import Upload
    from algodock_gitea_sync.clients.git import Git
    from algodock_gitea_sync.domain.repository import Repository

__all__ = ["BuiltinForge"]

_OBJECT = re.compile(r"[0-9a-f]{40}(?:[0-9a-f]{24})?")
_DEFAULT_BRANCH = "main"


@dataclass(frozen=True, slots=True)
class BuiltinForge:
    """Repositories below ``root`` as ``<owner>/<name>.git``.

    ``public_url`` is what clone URLs start with; ``inner_url`` is where programs beside us find the same.
    """

    git: Git
    root: Path
    public_url: str
    inner_url: str = ""

    def clone_url(self, full_name: str) -> str:
        """Return where people clone a repository from."""
        return f"{self.public_url}/git/{full_name}.git"

    def named_by(self, url: str) -> str | None:
        """Return the full name of the repository that a URL of this forge means, None for other servers' URLs.

        Raises:
            InvalidName: it is of this forge, and no owner/name of two DNS labels.
        """
        for own in filter(None, (self.public_url, self.inner_url)):
            if url.startswith(f"{own}/git/"):
                full_name = url.removeprefix(f"{own}/git/").removesuffix("/").removesuffix(".git")
                self.folder(full_name)
                return full_name
        return None

    def folder(self, full_name: str) -> Path:
        """Return where a repository lies.

        Raises:
            InvalidName: it is no owner/name of two DNS labels.
        """
        owner, _, name = full_name.partition("/")
        return self.root / check_label(owner, "owner") / f"{check_label(name, 'repository')}.git"

    async def create(self, algorithm: str) -> Created:
        """Make the repository, or find it there."""
        full_name = f"{BUILTIN_OWNER}/{check_label(algorithm, 'repository')}"
        await self.ensure(full_name, _DEFAULT_BRANCH)
        return Created(full_name, self.clone_url(full_name), _DEFAULT_BRANCH)

    async def ensure(self, full_name: str, branch: str) -> Path:
        """Return the repository's folder; made, empty, if it is missing."""
        folder = self.folder(full_name)
        if folder.is_dir():
            return folder
        folder.parent.mkdir(parents=True, exist_ok=True)
        draft = Path(tempfile.mkdtemp(dir=folder.parent, prefix=".new-"))
        try:
            await self.git.run(
                "init", "--quiet", "--bare", f"--initial-branch={check_branch(branch)}", "--", str(draft)
            )
            with contextlib.suppress(OSError):  # somebody else made it meanwhile
                await asyncio.to_thread(draft.rename, folder)
        finally:
            shutil.rmtree(draft, ignore_errors=True)
        if not folder.is_dir():
            msg = f"the repository's folder cannot be made in {folder.parent}"
            raise ForgeFailed(msg)
        return folder

    async def watch(self, repository: Repository, secret: str) -> None:
        """Do nothing: the hook that tells of pushes is in git's configuration, its secret comes with each push."""

    async def head(self, repository: Repository) -> str | None:
        """Return the branch's head, read from its file: no process for every look and every poll."""
        folder = self.folder(repository.full_name)
        with contextlib.suppress(FileNotFoundError, NotADirectoryError, IsADirectoryError):
            if _OBJECT.fullmatch(commit := (folder / repository.ref).read_text().strip()):
                return commit
        with contextlib.suppress(FileNotFoundError):
            for line in (folder / "packed-refs").read_text(errors="replace").splitlines():
                commit, _, ref = line.partition(" ")
                if ref == repository.ref:
                    return commit
        return None

    async def branches(self, repository: Repository) -> list[str]:
        """Return the branches, by name; none of a repository whose folder is gone."""
        if not self.folder(repository.full_name).is_dir():
            return []
        out = await self._run(repository, "for-each-ref", "--count=200", "--format=%(refname:lstrip=2)", "refs/heads/")
        return out.decode(errors="replace").splitlines()

    async def set_branch(self, repository: Repository, branch: str) -> None:
        """Make ``branch`` the default one: clones check it out, and nobody can delete it."""
        await self.ensure(repository.full_name, branch)
        await self._run(repository, "symbolic-ref", "HEAD", f"refs/heads/{check_branch(branch)}")

    async def objects(self, repository: Repository, commit: str) -> Path:  # noqa: ARG002  # the contract's
        """Return the repository itself: it has every commit that a branch of it points to."""
        return self.folder(repository.full_name)

    async def commit_files(self, repository: Repository, upload: Upload) -> str:
        """Put ``upload`` on the branch by one ``git fast-import``."""
        folder = await self.ensure(repository.full_name, repository.branch)
        parent = await self.head(repository)
        try:
            await fast_import(self.git, folder, repository.ref, parent, upload)
        except GitFailed as error:
            if "Not updating" in error.stderr or "new tip" in error.stderr or await self.head(repository) != parent:
                msg = f"branch {repository.branch} of {repository.full_name} moved meanwhile; upload again"
                raise UploadConflict(msg) from error
            raise ForgeFailed(str(error)) from error
        commit = await self.head(repository)
        if commit is None:
            msg = f"git made no commit of the upload to {repository.full_name}"
            raise ForgeFailed(msg)
        return commit

    async def tidy(self) -> int:
        """Have git pack what many pushes left loose, one repository after another; return how many there are."""
        folders = await asyncio.to_thread(lambda: sorted(self.root.glob("*/*.git")))
        for folder in folders:
            await self.git.run(f"--git-dir={folder}", "gc", "--auto", "--quiet", timeout_s=600)
        return len(folders)

    async def _run(self, repository: Repository, *arguments: str) -> bytes:
        try:
            return await self.git.run(f"--git-dir={self.folder(repository.full_name)}", *arguments)
        except GitFailed as error:
            raise ForgeFailed(str(error)) from error
