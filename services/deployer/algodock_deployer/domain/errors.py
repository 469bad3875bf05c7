"""Errors of the deployer: what a release can fail with, and what a command can be refused for."""

from __future__ import annotations

from algodock_common.errors import AlgoDockError, Conflict, NotFound

__all__ = [
    "CommandRefused",
    "DiskFull",
    "EngineRefused",
    "EntryNotFound",
    "GroupExists",
    "GroupNotFound",
    "ManifestInvalid",
    "ModelDamaged",
    "ModelNotFound",
    "ModelRefused",
    "ModelSourceAway",
    "NoDevice",
    "NotSupported",
    "PortLost",
    "ProgramFailed",
    "ReleaseFailure",
    "ReleaseNotFound",
    "RequirementsInvalid",
    "SampleFailed",
    "SecretMissing",
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


class DiskFull(ReleaseFailure):
    """There is not enough room for what the release needs; its detail says how much is missing and where."""


class ModelNotFound(ReleaseFailure):
    """A model of the manifest is not where it says."""


class ModelRefused(ReleaseFailure):
    """A model may not be fetched: its server wants a login, or its address is none that models may come from."""


class ModelDamaged(ReleaseFailure):
    """A model has another checksum or size than the manifest or the hub says."""


class ModelSourceAway(ReleaseFailure):
    """The server or hub that has a model cannot be reached, or fails again and again."""


class NoDevice(ReleaseFailure):
    """The GPUs that an instance wants are not there, or others have them; its detail says who, and what to do."""


class ProgramFailed(ReleaseFailure):
    """The program exited, never became healthy, or listens elsewhere."""


class PortLost(ProgramFailed):
    """Another program has the port that was leased for this one; it may run on another."""


class SampleFailed(ReleaseFailure):
    """A sample of the repository is not answered as it should be, or cannot be run."""


class EngineRefused(ReleaseFailure):
    """The Docker Engine answers that it cannot: no such image, a port that is taken, a command that is not there."""


class SecretMissing(ReleaseFailure):
    """The manifest names a secret that the service does not have."""


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
