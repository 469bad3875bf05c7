"""When lines were written: programs do not say, so the sizes of their growing files are noted each second.

Beside each log lies a file of marks, ``<milliseconds> <inode> <size>`` a line: what lies before ``size`` was
there by then. Rotation keeps a file's inode, so its marks stay true.
"""

from __future__ import annotations

import time
from bisect import bisect_left
from datetime import UTC, datetime
from pathlib import Path

__all__ = ["LogTimes", "marks_file", "times_of"]

LONGEST = 512 * 1024
"""Bytes of marks; past them the older half goes, and with it the times of lines that rotate away soon."""


def marks_file(log: Path) -> Path:
    """Return where the marks of a log lie."""
    return log.with_name(f"{log.name}.times")


class LogTimes:
    """Notes how long each log of a folder is, whenever it has grown."""

    def __init__(self, folder: Path) -> None:
        """Look at nothing yet."""
        self._folder = folder
        self._seen: dict[Path, tuple[int, int]] = {}

    def look(self) -> None:
        """Note every log that is not as it was the last time."""
        if not self._folder.is_dir():
            return
        seen: dict[Path, tuple[int, int]] = {}
        for log in self._folder.glob("*.log"):
            try:
                status = log.stat()
            except FileNotFoundError:
                continue
            now = seen[log] = (status.st_ino, status.st_size)
            before = self._seen.get(log)
            if now == before or (before is None and not status.st_size):
                continue
            if before is not None and before[0] != now[0]:
                _mark(log, _rotated(log, before))
            _mark(log, now)
        self._seen = seen


def _rotated(log: Path, before: tuple[int, int]) -> tuple[int, int]:
    """Return how long the file is by now that had the log's name before."""
    for path in log.parent.glob(f"{log.name}.[0-9]*"):
        status = path.stat()
        if status.st_ino == before[0]:
            return before[0], status.st_size
    return before


def _mark(log: Path, seen: tuple[int, int]) -> None:
    path = marks_file(log)
    with path.open("a", encoding="ascii") as file:
        file.write(f"{int(time.time() * 1000)} {seen[0]} {seen[1]}\n")
        length = file.tell()
    if length > LONGEST:
        content = path.read_bytes()
        partial = path.with_name(f".{path.name}.partial")
        partial.write_bytes(content[content.index(b"\n", len(content) // 2) + 1 :])
        partial.rename(path)


class Times:
    """The times of one file's lines; where no mark is, the file's own last change bounds it."""

    def __init__(self, marks: list[tuple[int, int]], changed_at: float) -> None:
        """``marks``: sizes with milliseconds, both growing."""
        self._sizes = [size for size, _ in marks]
        self._at = [at for _, at in marks]
        self._changed_at = changed_at

    def of(self, end: int) -> datetime | None:
        """Return when the line that ends before ``end`` was there at the latest."""
        place = bisect_left(self._sizes, end)
        if place < len(self._at):
            return datetime.fromtimestamp(self._at[place] / 1000, UTC)
        return datetime.fromtimestamp(self._changed_at, UTC)


def times_of(log: Path, file: Path) -> Times:
    """Return the times of ``file``, which is the log or one that was rotated away from it."""
    status = file.stat()
    marks: list[tuple[int, int]] = []
    try:
        noted = marks_file(log).read_text("ascii").splitlines()
    except FileNotFoundError:
        noted = []
    for line in noted:
        parts = line.split()
        if len(parts) != 3 or int(parts[1]) != status.st_ino:  # noqa: PLR2004  # a crash may cut the last one
            continue
        at, size = int(parts[0]), int(parts[2])
        while marks and marks[-1][0] >= size:
            marks.pop()  # the file was emptied and filled anew
        marks.append((size, at))
    return Times(marks, status.st_mtime)
