"""Small writes that a crash or a reader never meets half done, and files that may not be there."""

from __future__ import annotations

import os
from pathlib import Path

__all__ = ["drop", "link", "size_of", "tail", "write_whole"]

BLOCK = 64 * 1024


def write_whole(path: Path, text: str, mode: int = 0o644) -> None:
    """Replace a file in one step; its folder is made."""
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_name(f".{path.name}.partial")
    descriptor = os.open(partial, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, mode)
    with os.fdopen(descriptor, "w", encoding="utf-8") as file:
        file.write(text)
    partial.chmod(mode)
    partial.rename(path)


def link(path: Path, target: Path) -> None:
    """Make ``path`` a link to ``target`` in one step, relative where both lie in one tree."""
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_name(f".{path.name}.link")
    partial.unlink(missing_ok=True)
    partial.symlink_to(os.path.relpath(target, path.parent))
    partial.rename(path)


def size_of(path: Path) -> int:
    """Return how many bytes a file has; none when there is no file."""
    try:
        return path.stat().st_size
    except FileNotFoundError:
        return 0


def drop(path: Path) -> None:
    """Remove a file, if there is one."""
    path.unlink(missing_ok=True)


def tail(path: Path, lines: int, limit: int = 4 * 2**20) -> list[str]:
    """Return the last ``lines`` of a file, at most ``limit`` bytes of it; nothing when there is no file."""
    try:
        with path.open("rb") as file:
            end = file.seek(0, os.SEEK_END)
            content = b""
            while end > 0 and content.count(b"\n") <= lines and len(content) < limit:
                start = max(0, end - BLOCK)
                file.seek(start)
                content = file.read(end - start) + content
                end = start
    except FileNotFoundError:
        return []
    return content.decode(errors="replace").splitlines()[-lines:] if lines > 0 else []
