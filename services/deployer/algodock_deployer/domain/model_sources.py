"""Where a model's files come from: what stands behind ``from:`` in a manifest."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Literal
from urllib.parse import urlsplit

__all__ = ["STORE_PREFIX", "HubModel", "Link", "ModelSource", "StoreObject", "parse_source", "relative_path"]

STORE_PREFIX = "models/"
"""The part of the object store that manifests may name; everything else in it is the platform's own."""

LONGEST = 2048
_HUBS = {"hf": "main", "modelscope": "master"}
_REPOSITORY = re.compile(r"^[A-Za-z0-9][\w.-]{0,95}/[A-Za-z0-9][\w.-]{0,95}$", re.ASCII)
_REVISION = re.compile(r"^[A-Za-z0-9][\w./-]{0,127}$", re.ASCII)


@dataclass(frozen=True)
class StoreObject:
    """An object of the platform's store, below ``models/``."""

    key: str


@dataclass(frozen=True)
class Link:
    """A file on any HTTP server; what it must be is said by its checksum."""

    url: str


@dataclass(frozen=True)
class HubModel:
    """A repository of a hub at a revision, or one ``file`` of it."""

    hub: Literal["hf", "modelscope"]
    repository: str
    revision: str
    file: str = ""


ModelSource = StoreObject | Link | HubModel


def relative_path(value: str) -> str:
    """Return ``value`` as a path inside a folder.

    Raises:
        ValueError: it is absolute, leaves the folder, or holds what no path of a release holds.
    """
    parts = value.removesuffix("/").split("/")
    if not value or value.startswith("/") or "\\" in value or any(p in {"", ".", ".."} for p in parts):
        msg = f"{value!r} is no path inside the repository"
        raise ValueError(msg)
    if any(ord(character) < 32 or character == "\x7f" for character in value):  # noqa: PLR2004  # control characters
        msg = f"{value!r} holds a control character"
        raise ValueError(msg)
    return "/".join(parts)


def parse_source(value: str) -> ModelSource:
    """Read ``s3://models/…``, ``http(s)://…``, ``hf://owner/name[@revision][/file]`` or ``modelscope://…``.

    Raises:
        ValueError: it is none of these, or leads out of what models may be read from.
    """
    scheme, colon, rest = value.partition("://")
    if len(value) > LONGEST or not colon or any(c <= " " or c in "\x7f\\" for c in value):
        raise ValueError(_forms(value))
    if scheme == "s3":
        return StoreObject(_key(rest))
    if scheme in {"http", "https"}:
        return Link(_url(value))
    if scheme in _HUBS:
        return _hub(scheme, rest)
    raise ValueError(_forms(value))


def _forms(value: str) -> str:
    return (
        f"{value[:80]!r} is none of s3://{STORE_PREFIX}…, https://…, hf://owner/name[@revision][/file], "
        "modelscope://owner/name[@revision][/file]"
    )


def _key(rest: str) -> str:
    try:
        key = relative_path(rest)
    except ValueError:
        key = ""
    if key != rest or not key.startswith(STORE_PREFIX):
        msg = f"s3://{rest[:80]}: models are read from s3://{STORE_PREFIX} and from nowhere else in the object store"
        raise ValueError(msg)
    return key


def _url(value: str) -> str:
    parts = urlsplit(value)
    try:
        host, _ = parts.hostname, parts.port
    except ValueError as error:
        msg = f"{value[:80]!r}: {error}"
        raise ValueError(msg) from error
    if not host:
        msg = f"{value[:80]!r} has no host"
        raise ValueError(msg)
    if "@" in parts.netloc:
        msg = "a model's URL carries no user or password: everybody who reads the repository would read it"
        raise ValueError(msg)
    return value


def _hub(scheme: str, rest: str) -> HubModel:
    repository, at, behind = rest.partition("@")
    file = ""
    if at:
        revision, _, file = behind.partition("/")
    else:
        revision = _HUBS[scheme]
        owner, _, named = rest.partition("/")
        name, _, file = named.partition("/")
        repository = f"{owner}/{name}"
    if not _REPOSITORY.match(repository) or not _REVISION.match(revision) or ".." in revision:
        msg = f"{scheme}://{rest[:80]} is no {scheme}://owner/name[@revision][/file]"
        raise ValueError(msg)
    return HubModel(scheme, repository, revision, relative_path(file) if file else "")  # type: ignore[arg-type]  # one of the two
