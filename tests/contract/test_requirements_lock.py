"""requirements.lock: complete for every pyproject, hashed, and silent about where packages come from."""

from __future__ import annotations

import re
import tomllib
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

PROJECT = Path(__file__).parents[2]
LOCK = (PROJECT / "requirements.lock").read_text(encoding="utf-8")
PYPROJECTS = sorted([PROJECT / "pyproject.toml", *PROJECT.glob("*/*/pyproject.toml"), PROJECT / "cli/pyproject.toml"])
ENVIRONMENTS = [
    {"python_version": version, "python_full_version": f"{version}.0", "sys_platform": "linux"}
    for version in ("3.11", "3.12")
]


def entries() -> list[tuple[Requirement, list[str]]]:
    """Return each pinned requirement with its hashes."""
    found: list[tuple[Requirement, list[str]]] = []
    for block in re.split(r"\n(?=[^\s#])", LOCK):
        if block.startswith("#"):
            continue
        line, *hashes = block.replace("\\\n", "").split("--hash=")
        found.append((Requirement(line.strip()), [one.strip() for one in hashes]))
    return found


def wanted_by(pyproject: Path) -> list[Requirement]:
    """Return what a pyproject asks for: its dependencies and, for the workspace, the tools of development."""
    document = tomllib.loads(pyproject.read_text(encoding="utf-8"))
    lines = [*document["project"].get("dependencies", []), *document.get("dependency-groups", {}).get("dev", [])]
    return [Requirement(line) for line in lines if not line.startswith("algodock-")]


def test_names_no_host_and_no_index() -> None:
    assert not re.search(r"://|--(extra-)?index|--find-links|\bwww\.|\.(org|com|io)\b", LOCK)


def test_pins_everything_with_hashes() -> None:
    for requirement, hashes in entries():
        assert re.fullmatch(r"==[^*]+", str(requirement.specifier)), requirement
        assert hashes, requirement
        assert all(re.fullmatch(r"sha256:[0-9a-f]{64}", one) for one in hashes), requirement


@pytest.mark.parametrize("environment", ENVIRONMENTS, ids=lambda one: one["python_version"])
@pytest.mark.parametrize("pyproject", PYPROJECTS, ids=lambda path: path.parent.name)
def test_satisfies_every_pyproject(pyproject: Path, environment: dict[str, str]) -> None:
    applies = [one for one, _ in entries() if one.marker is None or one.marker.evaluate(environment)]
    pinned = {canonicalize_name(one.name): next(iter(one.specifier)).version for one in applies}
    for requirement in wanted_by(pyproject):
        if requirement.marker is not None and not requirement.marker.evaluate(environment):
            continue
        version = pinned.get(canonicalize_name(requirement.name))
        assert version, f"{requirement} is not in requirements.lock; run ./algodock lock"
        assert requirement.specifier.contains(version, prereleases=True), f"{requirement}, but {version} is locked"


def test_pins_one_version_of_a_package_for_each_environment() -> None:
    for environment in ENVIRONMENTS:
        names = [one.name for one, _ in entries() if one.marker is None or one.marker.evaluate(environment)]
        assert len(names) == len(set(names))
