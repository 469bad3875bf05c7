"""Errors of the deployer: what a release can fail with, and what a command can be refused for."""

from __future__ import annotations

from algodock_common.errors import AlgoDockError, Conflict, NotFound

__all__ = [
    "CommandRefused",
    "EngineRefused",
    "EntryNotFound",
    "GroupExists",
    "GroupNotFound",
    "ManifestInvalid",
    "NotSupported",
    "ProgramFailed",
    "ReleaseFailure",
    "ReleaseNotFound",
    "RequirementsInvalid",
    "SampleFailed",
    "ServiceNotFound",
    "SourceRefused",
    "StepFailed",
]


class ReleaseFailure(AlgoDockError):
    """The release cannot go live, and why: its detail becomes the release's reason."""

    status = 422
    title = "The release failed"
    code = "release-failed"


class SourceRefused(ReleaseFailure):
    """The source is hostile, damaged or too large."""


class ManifestInvalid(ReleaseFailure):
    """``algodock.yaml`` or ``package.json`` says something that cannot be."""


class RequirementsInvalid(ReleaseFailure):
    """A requirement that would leave the release's folder or cannot be kept."""


class EntryNotFound(ReleaseFailure):
    """Nothing in the source says how to run it."""


class NotSupported(ReleaseFailure):
    """What it asks for is known and not to be had on this platform."""


class StepFailed(ReleaseFailure):
    """A tool that a step runs (uv, npm, the manifest's build command) ended with an error."""


class ProgramFailed(ReleaseFailure):
    """The program exited, never became healthy, or listens elsewhere."""


class SampleFailed(ReleaseFailure):
    """A sample of the repository is not answered as it should be, or cannot be run."""


class EngineRefused(ReleaseFailure):
    """The Docker Engine answers that it cannot: no such image, a port that is taken, a command that is not there."""


class ServiceNotFound(NotFound):
    """No service has this name."""


class ReleaseNotFound(NotFound):
    """No release has this id."""


class GroupNotFound(NotFound):
    """No group of services has this name."""


class GroupExists(Conflict):
    """A group of this name is there already."""


class CommandRefused(Conflict):
    """A command that cannot be done as the service stands."""
