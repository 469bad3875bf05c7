"""A repository that deploys, and what becomes of a look at it."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from datetime import datetime
    from uuid import UUID

__all__ = ["BUILTIN_OWNER", "ForgeKind", "Look", "Outcome", "Repository"]

BUILTIN_OWNER = "algodock"
"""Who owns every repository of the built-in forge."""


class ForgeKind(StrEnum):
    """Where a repository lives: here, on the configured Gitea, or on another git server that is only read."""

    BUILTIN = "builtin"
    GITEA = "gitea"
    GIT = "git"


class Outcome(StrEnum):
    """What became of a delivery, or of a look without one."""

    RECEIVED = "received"
    """Recorded, not looked at yet; the poller comes to it if nobody else does."""
    PUSHED = "pushed"
    """A new head: ``code.pushed`` went out."""
    UNCHANGED = "unchanged"
    """The branch's head is the one last seen."""
    OTHER_BRANCH = "other-branch"
    """Recorded; another branch than this one deploys."""
    IGNORED = "ignored"
    """No push to a branch: a tag, a test, another event."""
    REFUSED = "refused"
    """Not signed with the repository's secret."""
    FAILED = "failed"
    """The look could not be finished; the detail says why, and the poller tries again."""


@dataclass(frozen=True, slots=True)
class Repository:
    """A row of ``algorithm_repositories``, without its secret."""

    id: UUID
    algorithm_id: UUID
    algorithm: str
    forge: ForgeKind
    full_name: str
    clone_url: str
    branch: str
    archived: bool = False
    last_seen_commit: str | None = None
    last_seen_at: datetime | None = None
    last_problem: str | None = None

    @property
    def ref(self) -> str:
        """Return the full name of the branch that deploys."""
        return f"refs/heads/{self.branch}"


@dataclass(frozen=True, slots=True)
class Look:
    """What a look at a repository's branch found."""

    outcome: Outcome
    branch: str
    commit: str | None = None
    message: str = ""
    problem: str | None = None
    detail: str = ""
