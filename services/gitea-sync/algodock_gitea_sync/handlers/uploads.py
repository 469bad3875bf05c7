"""Uploaded files become one commit on the branch that deploys, and that a look."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from algodock_common.errors import InvalidInput
from algodock_gitea_sync.clients.forge import Upload
from algodock_gitea_sync.domain.errors import RepositoryArchived, UnsafeTree
from algodock_gitea_sync.domain.tree import check_path

if TYPE_CHECKING:
    from collections.abc import Sequence

    from algodock_gitea_sync.clients.forge import UploadFile
    from algodock_gitea_sync.domain.repository import Look
    from algodock_gitea_sync.handlers.forges import Forges
    from algodock_gitea_sync.handlers.looks import Looks
    from algodock_gitea_sync.handlers.repositories import Repositories

__all__ = ["Uploads", "checked_upload"]


def checked_upload(files: Sequence[UploadFile]) -> Sequence[UploadFile]:
    """Return ``files`` if there are any and every path stays in the repository, each once.

    Raises:
        InvalidInput: there are none. UnsafeTree: a path that is not taken.
    """
    if not files:
        raise InvalidInput("an upload needs at least one file in its part `files`")
    seen: set[str] = set()
    for file in files:
        check_path(file.path)
        if file.path in seen:
            raise UnsafeTree(f"{file.path!r} is in the upload twice")
        seen.add(file.path)
    return files


@dataclass(frozen=True, slots=True)
class Uploads:
    """Takes uploads."""

    repositories: Repositories
    forges: Forges
    looks: Looks

    async def take(
        self, algorithm: str, files: Sequence[UploadFile], *, author: str, message: str = "", replace: bool = False
    ) -> tuple[str, Look]:
        """Commit ``files``, over what is there or instead of it; return the commit and what the look made of it.

        Raises:
            RepositoryUnknown, RepositoryArchived: there is none to write to.
            UnsafeTree, InvalidInput: the files are refused, and nothing was committed.
            UploadConflict: somebody pushed meanwhile. ForgeFailed, ForgeUnavailable: the forge did not take it.
        """
        repository = await self.repositories.get(algorithm)
        if repository.archived:
            raise RepositoryArchived(f"the algorithm {algorithm} is archived; nothing is uploaded to it")
        checked_upload(files)
        forge = await self.forges.of(repository)
        text = " ".join(message.split()) or f"Upload {len(files)} file{'' if len(files) == 1 else 's'}"
        commit = await forge.commit_files(repository, Upload(files, author, text[:500], replace))
        return commit, await self.looks.look(repository, pusher=author)
