"""A release's source as the domain sees it: names and contents, wherever they lie."""

from __future__ import annotations

import ast
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Protocol

from algodock_deployer.domain.errors import ReleaseFailure

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

__all__ = ["MemorySource", "Source", "check_imports", "parse_python"]


class Source(Protocol):
    """Read access to the files of one release; paths are relative, with ``/``."""

    def has(self, path: str) -> bool:
        """Return whether ``path`` is a file."""
        ...

    def read(self, path: str) -> bytes:
        """Return the content of ``path``.

        Raises:
            FileNotFoundError: there is no such file.
        """
        ...

    def top(self) -> Iterable[str]:
        """Return the names in the topmost folder."""
        ...


@dataclass(frozen=True)
class MemorySource:
    """A source that is a mapping; what tests hand to the domain."""

    files: Mapping[str, str] = field(default_factory=dict)

    def has(self, path: str) -> bool:
        """Return whether ``path`` is a file."""
        return path in self.files

    def read(self, path: str) -> bytes:
        """Return the content of ``path``."""
        try:
            return self.files[path].encode()
        except KeyError as error:
            raise FileNotFoundError(path) from error

    def top(self) -> Iterable[str]:
        """Return the names in the topmost folder."""
        return sorted({path.split("/", 1)[0] for path in self.files})


def parse_python(source: Source, path: str) -> ast.Module:
    """Parse a Python file.

    Raises:
        ReleaseFailure: ``SyntaxError: <message>, <path> line <n>``.
    """
    try:
        return ast.parse(source.read(path), filename=path)
    except SyntaxError as error:
        line = f" line {error.lineno}" if error.lineno else ""
        msg = f"{type(error).__name__}: {error.msg}, {path}{line}"
        raise ReleaseFailure(msg) from error
    except (ValueError, RecursionError, MemoryError) as error:
        msg = f"{type(error).__name__}: {error}, {path}"
        raise ReleaseFailure(msg) from error


def check_imports(source: Source, entry: str) -> dict[str, ast.Module]:
    """Parse ``entry`` and every file of the release that it imports, so that a syntax error is found early.

    Raises:
        ReleaseFailure: as ``parse_python``.
    """
    parsed: dict[str, ast.Module] = {}
    waiting = [entry]
    while waiting:
        path = waiting.pop()
        if path in parsed or not source.has(path):
            continue
        parsed[path] = tree = parse_python(source, path)
        waiting.extend(_imported(tree, path))
    return parsed


def _imported(tree: ast.Module, path: str) -> list[str]:
    """Return the paths that the imports of ``tree`` could mean."""
    folder = path.split("/")[:-1]
    names: list[list[str]] = []
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            names.extend(alias.name.split(".") for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            base = folder[: len(folder) - node.level + 1] if node.level else []
            module = base + (node.module.split(".") if node.module else [])
            names.append(module)
            names.extend([*module, alias.name] for alias in node.names)
    paths = []
    for name in names:
        for end in range(1, len(name) + 1):
            stem = "/".join(name[:end])
            paths += [f"{stem}.py", f"{stem}/__init__.py"]
    return paths
