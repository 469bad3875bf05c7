"""Reads the logs of the platform's programs: the last lines, and the new ones as they come."""

from __future__ import annotations

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
    """Yield (program, line) as lines are written, until interrupted; a rotated file is begun anew."""
    places = {name: file.stat().st_size for name, file in files.items()}
    rest = dict.fromkeys(files, b"")
    while True:
        quiet = True
        for name, file in files.items():
            size = file.stat().st_size if file.exists() else 0
            if size < places[name]:
                places[name] = 0
            if size == places[name]:
                continue
            quiet = False
            with file.open("rb") as opened:
                opened.seek(places[name])
                fresh = opened.read()
            places[name] += len(fresh)
            *whole, rest[name] = (rest[name] + fresh).split(b"\n")
            for line in whole:
                yield name, line.decode(errors="replace")
        if quiet:
            time.sleep(_LOOK_S)
