"""``algodock.yaml``: what an algorithm may say about itself. All keys are optional; unknown ones are errors."""

from __future__ import annotations

import math
import re
from typing import Annotated, Any, Literal
from urllib.parse import urlsplit

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, ValidationError, field_validator, model_validator

from algodock_common.events.release import Limits
from algodock_common.identifiers import AlgorithmName
from algodock_deployer.domain.errors import ManifestInvalid
from algodock_deployer.domain.model_sources import HubModel, Link, ModelSource, parse_source, relative_path

__all__ = ["MANIFEST", "MOST_AT_ONCE", "Manifest", "ModelFile", "Resources", "parse_manifest", "relative_path"]

MANIFEST = "algodock.yaml"
MAX_BYTES = 64 * 1024
MOST_AT_ONCE = 65_535
"""More calls at once than any service bears; nginx's ``limit_conn`` takes no larger number."""
MOST_WAITING = 1_000_000
MOST_BYTES = 2**62
_HEALTH = "/health"
_UNITS = {"": 1, "k": 1000, "M": 1000**2, "G": 1000**3, "Ki": 1024, "Mi": 1024**2, "Gi": 1024**3, "Ti": 1024**4}
_QUANTITY = re.compile(r"^(\d+(?:\.\d+)?)\s*([kMG]|[KMGT]i)?$")
_VARIABLE = re.compile(r"^[A-Za-z_][A-Za-z0-9_]{0,127}$")
RESERVED = frozenset(
    {"HOST", "PORT", "SERVICE_HOST", "SERVICE_PORT", "HOME", "TMPDIR", "LD_PRELOAD", "LD_LIBRARY_PATH"}
)


def _bytes(value: object) -> object:
    """Read ``512Mi``, ``1Gi``, ``2G`` or a number of bytes."""
    if isinstance(value, str):
        match = _QUANTITY.match(value)
        if match is None:
            msg = f"{value!r} is no size such as 512Mi or 1Gi"
            raise ValueError(msg)
        return int(float(match.group(1)) * _UNITS[match.group(2) or ""])
    return value


def _scalar(value: object) -> object:
    """Take YAML's numbers and booleans as the text that an environment variable holds."""
    if isinstance(value, bool):
        return "true" if value else "false"
    return str(value) if isinstance(value, int | float) else value


class _Strict(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)

    @field_validator("*", mode="before")
    @classmethod
    def _no_truth(cls, value: object) -> object:
        """Refuse ``timeout: true``, which would be one second."""
        if isinstance(value, bool):
            msg = "true and false say nothing here"
            raise ValueError(msg)  # noqa: TRY004  # pydantic's way
        return value


class Resources(_Strict):
    """What one instance may use; ``memory`` is in bytes, for all of its processes together.

    ``gpu`` devices are its own, or, of each of them, the part ``gpu_share``.
    """

    cpu: float | None = Field(default=None, gt=0)
    memory: Annotated[int | None, BeforeValidator(_bytes)] = Field(default=None, ge=16 * 2**20)
    gpu: int = Field(default=0, ge=0, le=64)
    gpu_share: float = Field(default=1, gt=0, le=1)


class ModelFile(_Strict):
    """A file, or a hub's whole repository as a folder, that lies at ``path`` in the release."""

    path: str
    source: str = Field(alias="from")
    sha256: str | None = Field(default=None, pattern=r"^[0-9a-f]{64}$")

    _path = field_validator("path")(relative_path)

    def check(self) -> None:
        """See to it that the file can be fetched and pinned.

        Raises:
            ValueError: not from there, or not without a checksum.
        """
        found = self.place
        if isinstance(found, Link) and self.sha256 is None:
            msg = "a model from a URL needs its sha256: what a server hands out may change"
            raise ValueError(msg)
        if isinstance(found, HubModel) and not found.file and self.sha256 is not None:
            msg = "sha256 is that of one file; pin a whole repository by @<commit>"
            raise ValueError(msg)

    @property
    def place(self) -> ModelSource:
        """Return where it comes from.

        Raises:
            ValueError: from nowhere that models are read from.
        """
        return parse_source(self.source)


class Endpoint(_Strict):
    """A model behind an OpenAI-compatible server; ``secret`` names the service's secret that holds the key."""

    endpoint: str = Field(max_length=2048)
    model: str = Field(min_length=1, max_length=256)
    secret: str | None = None

    @field_validator("endpoint")
    @classmethod
    def _url(cls, value: str) -> str:
        parts = urlsplit(value)
        if any(c <= " " or c in "\x7f\\" for c in value) or parts.scheme not in {"http", "https"} or not parts.hostname:
            msg = "it must be an http or https URL, such as http://127.0.0.1:11434/v1"
            raise ValueError(msg)
        if "@" in parts.netloc or parts.query or parts.fragment:
            msg = "it must have no user, password, query or fragment; the key is a secret of the service"
            raise ValueError(msg)
        _ = parts.port
        return value.rstrip("/")

    @field_validator("secret")
    @classmethod
    def _named(cls, value: str | None) -> str | None:
        if value is not None and not re.fullmatch(r"[A-Z][A-Z0-9_]{0,127}", value):
            msg = "it names a secret, such as OPENAI_API_KEY; the key itself is set by `algodock secret set`"
            raise ValueError(msg)
        return value


class Manifest(_Strict):
    """The manifest as its author wrote it, defaults filled in."""

    name: AlgorithmName | None = None
    runtime: Literal["python", "node", "docker", "openai"] | None = None
    python: Annotated[str | None, BeforeValidator(_scalar)] = Field(default=None, pattern=r"^3\.\d{1,2}(\.\d{1,2})?$")
    build: str | None = Field(default=None, min_length=1, max_length=4096)
    entry: str | None = None
    command: list[str] | None = Field(default=None, min_length=1)
    protocol: Literal["http", "grpc"] = "http"
    health: str = Field(default=_HEALTH, pattern=r"^/[^\s]*$")
    port: int | None = Field(default=None, ge=1024, le=65535)
    strategy: Literal["blue-green", "recreate", "canary"] = "blue-green"
    canary: int = Field(default=10, ge=1, le=99, description="per cent of the calls, with that strategy")
    instances: int = Field(default=1, ge=1, le=64)
    concurrency: int | None = Field(default=None, ge=1)
    queue: int | None = Field(default=None, ge=0)
    timeout: float = Field(default=30, gt=0, le=3600)
    resources: Resources = Field(default_factory=Resources)
    env: dict[str, Annotated[str, BeforeValidator(_scalar)]] = Field(default_factory=dict)
    openai: Endpoint | None = None
    models: list[ModelFile] = Field(default_factory=list)
    samples: str = "samples"

    _samples = field_validator("samples")(relative_path)

    @field_validator("env")
    @classmethod
    def _own_variables(cls, value: dict[str, str]) -> dict[str, str]:
        for name, text in value.items():
            if not _VARIABLE.fullmatch(name):
                msg = f"{name!r} is no name of an environment variable"
                raise ValueError(msg)
            if name in RESERVED or name.startswith("ALGODOCK_"):
                msg = f"{name} is set by the platform"
                raise ValueError(msg)
            if "\0" in text:
                msg = f"{name} holds a zero byte"
                raise ValueError(msg)
        return value

    @model_validator(mode="after")
    def _one_start(self) -> Manifest:
        if self.entry and self.command:
            msg = "give either entry or command, not both"
            raise ValueError(msg)
        if self.port is not None and self.instances > 1:
            msg = "a pinned port serves one instance"
            raise ValueError(msg)
        if self.port is not None and self.strategy == "canary":
            msg = "a pinned port serves one instance, so beside it there is no canary"
            raise ValueError(msg)
        return self

    @property
    def health_path(self) -> str:
        """Return what is asked for health: a path, or a gRPC service's ``/`` and the name that it checks, if any."""
        return "/" if self.protocol == "grpc" and self.health == _HEALTH else self.health

    @property
    def health_question(self) -> str:
        """Return the question for its health in words, for those who read why it failed."""
        if self.protocol == "http":
            return f"GET {self.health}"
        name = self.health_path.strip("/")
        return f"grpc.health.v1 Check of {name}" if name else "grpc.health.v1 Check"

    def limits(self) -> Limits:
        """Return what the routers hold the service to."""
        limits = Limits(timeout_s=self.timeout, concurrency=self.concurrency)
        return (
            limits if self.queue is None else limits.model_copy(update={"queue": self.queue, "task_queue": self.queue})
        )


def _said(error: ValidationError) -> str:
    said = []
    for item in error.errors(include_url=False, include_input=False):
        place = ".".join(str(part) for part in item["loc"])
        text = "unknown key" if item["type"] == "extra_forbidden" else item["msg"].removeprefix("Value error, ")
        said.append(f"{place}: {text}" if place else text)
    return "; ".join(said)


def parse_manifest(content: bytes) -> Manifest:
    """Read an ``algodock.yaml``.

    Raises:
        ManifestInvalid: it is no YAML, has an unknown key, or a value that cannot be; the detail says where.
    """
    import yaml  # only where there is a manifest

    if len(content) > MAX_BYTES:
        msg = f"{MANIFEST} is larger than {MAX_BYTES} bytes"
        raise ManifestInvalid(msg)
    try:
        document: Any = yaml.safe_load(content)
    except (ValueError, RecursionError) as error:  # a number of thousands of digits, thousands of brackets
        msg = f"{type(error).__name__}: {error}, {MANIFEST}"
        raise ManifestInvalid(msg) from error
    except yaml.YAMLError as error:
        mark = getattr(error, "problem_mark", None)
        where = f", {MANIFEST} line {mark.line + 1}" if mark else f", {MANIFEST}"
        msg = f"YAMLError: {getattr(error, 'problem', None) or error}{where}"
        raise ManifestInvalid(msg) from error
    if document is None:
        return Manifest()
    if not isinstance(document, dict):
        msg = f"{MANIFEST} must be a mapping of keys to values"
        raise ManifestInvalid(msg)
    try:
        manifest = Manifest.model_validate(document)
    except ValidationError as error:
        msg = f"{MANIFEST}: {_said(error)}"
        raise ManifestInvalid(msg) from error
    _check_numbers(manifest)
    _check_models(manifest.models)
    _check_devices(manifest)
    _check_endpoint(manifest)
    return manifest


def _check_numbers(manifest: Manifest) -> None:
    """Check what only a new manifest must keep to: plans that were kept are read without it."""
    if manifest.resources.cpu is not None and not math.isfinite(manifest.resources.cpu):
        raise ManifestInvalid(f"{MANIFEST}: resources.cpu: Input should be a finite number")
    for name, value, most in (
        ("concurrency", manifest.concurrency, MOST_AT_ONCE), ("queue", manifest.queue, MOST_WAITING),
        ("resources.memory", manifest.resources.memory, MOST_BYTES),
    ):  # fmt: skip
        if value is not None and value > most:
            raise ManifestInvalid(f"{MANIFEST}: {name}: Input should be less than or equal to {most}")


def _check_devices(manifest: Manifest) -> None:
    """See that GPUs are asked for in one way."""
    if manifest.resources.gpu_share < 1 and not manifest.resources.gpu:
        raise ManifestInvalid(f"{MANIFEST}: resources.gpu_share: it is a part of each of `gpu` devices; say how many")
    for name in ("CUDA_VISIBLE_DEVICES", "CUDA_DEVICE_ORDER"):
        if manifest.resources.gpu and name in manifest.env:
            raise ManifestInvalid(f"{MANIFEST}: env: {name} is set by the platform where resources.gpu is")


def _check_endpoint(manifest: Manifest) -> None:
    """See that ``runtime: openai`` says where, and nothing else does."""
    if (manifest.runtime == "openai") != (manifest.openai is not None):
        raise ManifestInvalid(
            f"{MANIFEST}: `runtime: openai` needs `openai: {{endpoint: …, model: …, secret: …}}`, and it alone"
        )
    if manifest.openai is not None and (manifest.entry or manifest.command or manifest.build):
        raise ManifestInvalid(f"{MANIFEST}: runtime: openai has no code: leave out entry, command and build")
    if manifest.openai is not None and manifest.protocol != "http":
        raise ManifestInvalid(f"{MANIFEST}: runtime: openai is served over http")


def _check_models(models: list[ModelFile]) -> None:
    """Check what only a new manifest must keep to: plans that were kept are read without it."""
    paths = [f"{one.path}/" for one in models]
    for number, model in enumerate(models):
        try:
            model.check()
        except ValueError as error:
            msg = f"{MANIFEST}: models.{number}.from: {error}"
            raise ManifestInvalid(msg) from error
        if any(paths[number].startswith(other) for at, other in enumerate(paths) if at != number):
            msg = f"{MANIFEST}: models.{number}.path: {model.path} lies in the place of another model"
            raise ManifestInvalid(msg)
