"""Step 1, code: a branch that deploys has a new head (gitea-sync to deployer)."""

from __future__ import annotations

from typing import ClassVar
from uuid import UUID

from pydantic import Field

from algodock_common.events.envelope import EventData
from algodock_common.identifiers import AlgorithmName

__all__ = ["CodePushed"]


class CodePushed(EventData):
    """A commit to deploy, with the object-store key of its source bundle (a ``tar.gz``).

    ``problem`` is set, and ``bundle_key`` is not, when the commit cannot become a bundle (a
    symlink, a name that leaves the tree, too large): the deployer records a failed release.
    """

    topic: ClassVar[str] = "code.pushed"

    repository_id: UUID
    repository: str = Field(description="owner/name")
    algorithm_id: UUID
    algorithm: AlgorithmName
    ref: str = Field(description="refs/heads/…")
    commit: str = Field(pattern=r"^[0-9a-f]{40,64}$")
    parent: str | None = None
    bundle_key: str | None = None
    problem: str | None = None
    pusher: str = ""
    message: str = Field(default="", description="the commit's subject line")

    def subject(self) -> str:
        """Return the repository's id: two algorithms may deploy branches of one repository."""
        return str(self.repository_id)

    def key(self) -> str:
        """Return the repository, so that its events keep their order."""
        return self.repository
