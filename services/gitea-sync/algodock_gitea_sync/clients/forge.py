"""What gitea-sync needs of a forge; the built-in one, Gitea and a plain git server meet the same contract."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, BinaryIO, Protocol

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from algodock_gitea_sync.domain.repository import Repository

__all__ = ["Created", "Forge", "HeadMoved", "Upload", "UploadFile"]


class HeadMoved(Exception):
    """The branch's head is another one than was asked for: look again."""


@dataclass(frozen=True, slots=True)
class Created:
    """A repository of a forge."""

    full_name: str
    clone_url: str
    branch: str


@dataclass(frozen=True, slots=True)
class UploadFile:
    """One uploaded file: its path in the repository, its content from the beginning, its size in bytes."""

    path: str
    content: BinaryIO
    size: int


@dataclass(frozen=True, slots=True)
class Upload:
    """Files that become one commit; with ``replace`` they are all that the commit holds."""

    files: Sequence[UploadFile]
    author: str
    message: str
    replace: bool = False


class Forge(Protocol):
    """A place that repositories live in.

    Every method may raise ``ForgeUnavailable`` (worth a retry) and ``ForgeFailed`` (not worth one).
    """

    async def create(self, algorithm: str) -> Created:
        """Make the algorithm's repository, or find it there."""
        ...

    async def watch(self, repository: Repository, secret: str) -> None:
        """Have the forge tell of pushes by webhooks signed with ``secret``; idempotent."""
        ...

    async def head(self, repository: Repository) -> str | None:
        """Return the commit that the deploying branch points to, or None when there is no such branch."""
        ...

    async def branches(self, repository: Repository) -> list[str]:
        """Return the names of the branches, at most some hundred."""
        ...

    async def objects(self, repository: Repository, commit: str) -> Path:
        """Return a bare repository on this machine that has ``commit``, the deploying branch's head.

        Raises:
            HeadMoved: the branch points elsewhere by now.
        """
        ...

    async def commit_files(self, repository: Repository, upload: Upload) -> str:
        """Put ``upload`` on the deploying branch as one commit and return it.

        Raises:
            UploadConflict: the branch moved meanwhile.
        """
        ...
