"""The typed errors of gitea-sync; each carries its HTTP status."""

from __future__ import annotations

from algodock_common.errors import (
    Conflict,
    Forbidden,
    InvalidInput,
    NotFound,
    PayloadTooLarge,
    Unauthorized,
    Unavailable,
    UpstreamFailed,
)

__all__ = [
    "BranchMissing",
    "BundleFailed",
    "ForgeFailed",
    "ForgeUnavailable",
    "InvalidName",
    "PushTooLarge",
    "RepositoryArchived",
    "RepositoryMoved",
    "RepositoryUnknown",
    "UnsafeTree",
    "UploadConflict",
    "WebhookRefused",
]


class InvalidName(InvalidInput):
    """An owner, repository, branch, ref or URL that is not taken."""

    title = "Invalid name"
    code = "invalid-name"


class UnsafeTree(InvalidInput):
    """A commit or an upload that cannot become a source bundle; the detail says which path and why."""

    title = "Unsafe source tree"
    code = "unsafe-tree"


class PushTooLarge(PayloadTooLarge):
    """A push or an upload past the configured size."""

    title = "Push too large"
    code = "push-too-large"


class RepositoryUnknown(NotFound):
    """No repository of this name."""

    title = "Unknown repository"
    code = "repository-unknown"


class RepositoryArchived(Forbidden):
    """The repository's algorithm was archived; nothing is pushed to it."""

    title = "Archived repository"
    code = "repository-archived"


class RepositoryMoved(NotFound):
    """The repository lives on another forge; the detail names its clone URL."""

    title = "Repository on another forge"
    code = "repository-moved"


class BranchMissing(InvalidInput):
    """The branch that should deploy is not in the repository."""

    title = "No such branch"
    code = "branch-missing"


class UploadConflict(Conflict):
    """The branch moved while the upload was made into a commit."""

    title = "The branch moved"
    code = "upload-conflict"


class WebhookRefused(Unauthorized):
    """A webhook without the right signature; never says what was wrong with it."""

    title = "Webhook refused"
    code = "webhook-refused"

    def __init__(self) -> None:
        """One text for every cause, an unknown repository among them."""
        super().__init__("the webhook is not signed with the secret of a repository known here")


class ForgeUnavailable(Unavailable):
    """The forge cannot be reached, or git on this machine cannot be run."""

    title = "Forge unavailable"
    code = "forge-unavailable"


class BundleFailed(Unavailable):
    """The source bundle cannot be made on this machine now (a full disk, for one); the poller tries again."""

    title = "Source bundle failed"
    code = "bundle-failed"


class ForgeFailed(UpstreamFailed):
    """The forge answered, but not with what was asked for."""

    title = "Forge failed"
    code = "forge-failed"
    retryable = False
