"""What a release needs to be installed: its requirements as one text, and the key of the environment they make."""

from __future__ import annotations

import hashlib
import re
import tomllib
from typing import TYPE_CHECKING

from algodock_deployer.domain.errors import ManifestInvalid, RequirementsInvalid
from algodock_deployer.domain.manifest import relative_path

if TYPE_CHECKING:
    from algodock_deployer.domain.source import Source

__all__ = ["SDK", "compile_key", "environment_key", "normalised_name", "read_requirements"]

SDK = "algodock-sdk"
_NAME = re.compile(r"^([A-Za-z0-9][A-Za-z0-9._-]*)")
_INCLUDE = re.compile(r"^(?:-r|--requirement|-c|--constraint)(?:\s+|=)(.+)$")
_LOCAL = re.compile(r"^(?:\.{1,2}(?:/|$)|/|~)|(?:@\s*|\s|^)(?:file:|git\+file:|git\+ext|ext::)", re.IGNORECASE)


def normalised_name(requirement: str) -> str:
    """Return a requirement's project name as PEP 503 writes it, or an empty string."""
    match = _NAME.match(requirement.strip())
    return re.sub(r"[-_.]+", "-", match.group(1)).lower() if match else ""


def read_requirements(source: Source) -> list[str]:
    """Return the requirements of a Python release, files that they include written out.

    ``requirements.txt`` counts, else ``[project].dependencies`` of ``pyproject.toml``.

    Raises:
        RequirementsInvalid: a line leaves the repository or names a local path.
    """
    if source.has("requirements.txt"):
        return list(dict.fromkeys(_lines(source, "requirements.txt", ())))
    if source.has("pyproject.toml"):
        try:
            project = tomllib.loads(source.read("pyproject.toml").decode()).get("project", {})
            dependencies = project.get("dependencies", [])
        except (tomllib.TOMLDecodeError, UnicodeDecodeError, AttributeError) as error:
            msg = f"{type(error).__name__}: {error}, pyproject.toml"
            raise ManifestInvalid(msg) from error
        if not isinstance(dependencies, list) or not all(isinstance(line, str) for line in dependencies):
            msg = "pyproject.toml: project.dependencies must be a list of strings"
            raise ManifestInvalid(msg)
        for line in dependencies:
            _refuse_local(line, "pyproject.toml")
        return dependencies
    return []


def _lines(source: Source, path: str, chain: tuple[str, ...]) -> list[str]:
    if path in chain:
        msg = f"{path} includes itself"
        raise RequirementsInvalid(msg)
    try:
        text = source.read(path).decode("utf-8-sig")
    except FileNotFoundError as error:
        msg = f"{chain[-1]} includes {path}, which is not in the repository"
        raise RequirementsInvalid(msg) from error
    except UnicodeDecodeError as error:
        msg = f"{path} is no UTF-8 text"
        raise RequirementsInvalid(msg) from error
    found: list[str] = []
    for number, raw in enumerate(text.replace("\\\r\n", " ").replace("\\\n", " ").splitlines(), 1):
        line = re.sub(r"(^|\s+)#.*$", "", raw).strip()
        if not line:
            continue
        included = _INCLUDE.match(line)
        if included:
            found += _lines(source, _inside(included.group(1).strip(), path, number), (*chain, path))
            continue
        _refuse_local(line, f"{path} line {number}")
        found.append(line)
    return found


def _inside(target: str, path: str, number: int) -> str:
    folder = path.rpartition("/")[0]
    try:
        return relative_path(f"{folder}/{target}".removeprefix("/"))
    except ValueError as error:
        msg = f"{path} line {number}: {error}"
        raise RequirementsInvalid(msg) from error


def _refuse_local(line: str, where: str) -> None:
    if line.startswith(("-e", "--editable")) or _LOCAL.search(line):
        msg = (
            f"{where}: {line!r} names a local path; list what it needs instead (the repository is on the path already)"
        )
        raise RequirementsInvalid(msg)


def compile_key(requirements: list[str], python: str, platform: str) -> str:
    """Return the key under which the compiled form of ``requirements`` is kept."""
    return _digest("compile", python, platform, *requirements)


def environment_key(compiled: str, python: str, platform: str, sdk: str) -> str:
    """Return the environment's hash: compiled requirements, Python, platform, and the SDK's version if it is in it."""
    return _digest("environment", python, platform, sdk, compiled)


def _digest(*parts: str) -> str:
    digest = hashlib.sha256()
    for part in parts:
        digest.update(f"{len(part)}:".encode())
        digest.update(part.encode())
    return digest.hexdigest()[:32]
