"""Reads the logs of the platform's programs: the last lines, and the new ones as they come."""

from __future__ import annotations

import os
import time
from collections.abc import Iterator
from pathlib import Path

from algodock_cli.stack.data_folder import DataFolder

__all__ = ["follow_logs", "last_lines", "log_files"]

_LOOK_S = 0.25
_BLOCK = 64 * 1024


def log_files(folder: DataFolder) -> dict[str, Path]:
    """Return each program's log by its name."""
    return {file.stem: file for file in sorted(folder.logs.glob("*.log"))}


def last_lines(file: Path, count: int) -> list[str]:
    """Return the file's last lines, reading from its end."""
    with file.open("rb") as opened:
        end = opened.seek(0, 2)
        read = b""
        while end > 0 and read.count(b"\n") <= count:
            start = max(0, end - _BLOCK)
            opened.seek(start)
            read = opened.read(end - start) + read
            end = start
    return read.decode(errors="replace").splitlines()[-count:] if count else []


def follow_logs(files: dict[str, Path]) -> Iterator[tuple[str, str]]:
    """Yield (program, line) as lines are written from now on, until interrupted, also over rotations."""
    return _follow([_Follower(name, file) for name, file in files.items()])


def _follow(followers: list[_Follower]) -> Iterator[tuple[str, str]]:
    while True:
        quiet = True
        for follower in followers:
            for line in follower.new_lines():
                quiet = False
                yield follower.name, line
        if quiet:
            time.sleep(_LOOK_S)


class _Follower:
    """One log: held open, so that what was written right before it was rotated away is read, too."""

    def __init__(self, name: str, file: Path) -> None:
        self.name = name
        self._file = file
        self._opened = file.open("rb")
        self._opened.seek(0, os.SEEK_END)
        self._rest = b""

    def new_lines(self) -> list[str]:
        rotated = self._is_rotated()  # asked before the last read: nobody writes to it afterwards
        if os.fstat(self._opened.fileno()).st_size < self._opened.tell():  # emptied in its place
            self._opened.seek(0)
        fresh = self._opened.read()
        if rotated:
            self._opened.close()
            self._opened = self._file.open("rb")
            fresh += self._opened.read()
        *whole, self._rest = (self._rest + fresh).split(b"\n")
        return [line.decode(errors="replace") for line in whole]

    def _is_rotated(self) -> bool:
        try:
            return not os.path.samestat(self._file.stat(), os.fstat(self._opened.fileno()))
        except FileNotFoundError:  # between two files
            return False
