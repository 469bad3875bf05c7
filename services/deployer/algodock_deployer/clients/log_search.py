"""Looks through what programs wrote, from the end: every program of a service, rotated files included."""

from __future__ import annotations

import re
from datetime import UTC, datetime
from operator import itemgetter
from typing import TYPE_CHECKING

from algodock_deployer.clients.log_times import times_of
from algodock_deployer.domain.logs import FoundLines, LogLine

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from pathlib import Path
    from typing import Literal

    from algodock_deployer.domain.logs import Wanted

__all__ = ["programs_of", "search_logs"]

BLOCK = 256 * 1024
BUDGET = 256 * 2**20
"""Bytes that one question may look through."""
_NEVER = datetime.min.replace(tzinfo=UTC)


def programs_of(folder: Path, name: str) -> list[str]:
    """Return the programs of a service that have logs here, whatever release they were of, the newest first."""
    own = re.compile(rf"ai-{re.escape(name)}-\d+-[0-9a-f]{{12}}")
    found: dict[str, float] = {}
    for path in folder.glob(f"ai-{name}-*.log"):
        program = path.name.removesuffix(".log").removesuffix("_error")
        if own.fullmatch(program):
            found[program] = max(found.get(program, 0.0), path.stat().st_mtime)
    return sorted(found, key=found.__getitem__, reverse=True)


def search_logs(folder: Path, programs: Sequence[str], wanted: Wanted) -> FoundLines:
    """Return the last lines that are wanted, of all programs together, in the order of their times."""
    budget = _Budget(BUDGET)
    found: list[tuple[datetime, int, LogLine]] = []
    streams: tuple[Literal["stdout", "stderr"], ...] = ("stdout", "stderr")
    for program in programs:
        for stream in streams:
            if wanted.stream in {stream, "all"}:
                log = folder / f"{program}{'_error' if stream == 'stderr' else ''}.log"
                lines = list(_of_log(log, program, stream, wanted, budget))
                found += [(line.at or _NEVER, -place, line) for place, line in enumerate(lines)]
    found.sort(key=itemgetter(0, 1))
    last = [line for _, _, line in found][-wanted.lines :] if wanted.lines else []
    return FoundLines(last, complete=not budget.spent)


class _Budget:
    """How many bytes may still be read."""

    def __init__(self, left: int) -> None:
        self.left = left

    @property
    def spent(self) -> bool:
        return self.left <= 0


def _of_log(
    log: Path, program: str, stream: Literal["stdout", "stderr"], wanted: Wanted, budget: _Budget
) -> Iterator[LogLine]:
    """Yield the wanted lines of a log, the newest first."""
    count = 0
    for file in _files(log):
        try:
            times = times_of(log, file)
            for end, raw in _lines_back(file, budget):
                at = times.of(end)
                if wanted.until is not None and at is not None and at > wanted.until:
                    continue
                if (wanted.since is not None and at is not None and at < wanted.since) or count >= wanted.lines:
                    return
                text = raw.decode(errors="replace").rstrip("\r")
                if wanted.matches(text):
                    count += 1
                    yield LogLine(at, stream, program, text)
        except FileNotFoundError:
            continue  # rotated or cleaned away meanwhile


def _files(log: Path) -> list[Path]:
    """Return the log and what was rotated away from it, the newest first."""
    rotated = [path for path in log.parent.glob(f"{log.name}.*") if path.suffix[1:].isdecimal()]
    return [log, *sorted(rotated, key=lambda path: int(path.suffix[1:]))]


def _lines_back(path: Path, budget: _Budget) -> Iterator[tuple[int, bytes]]:
    """Yield each line with the offset at which it ends, the last one first."""
    with path.open("rb") as file:
        position = file.seek(0, 2)
        rest, rest_end, newest = b"", position, True
        while position > 0 and not budget.spent:
            start = max(0, position - BLOCK)
            file.seek(start)
            content = file.read(position - start) + rest
            budget.left -= position - start
            position, end = start, rest_end
            rest, *lines = content.split(b"\n")
            for line in reversed(lines):
                if line or not newest:
                    yield end, line
                newest = False
                end -= len(line) + 1
            rest_end = end
        if position == 0 and rest:
            yield rest_end, rest
