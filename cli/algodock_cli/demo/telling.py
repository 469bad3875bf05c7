"""Tells the demo as it happens: numbered steps, lines below them, times in front."""

from __future__ import annotations

import time
from collections.abc import Sequence

import typer

__all__ = ["Teller"]


class Teller:
    """Prints with the seconds since the beginning; to standard error when standard output is for JSON."""

    def __init__(self, *, to_stderr: bool, steps: int) -> None:
        self._to_stderr = to_stderr
        self._steps = steps
        self._step = 0
        self._began = time.monotonic()

    def seconds(self) -> float:
        """Return the seconds since the beginning."""
        return time.monotonic() - self._began

    def step(self, title: str) -> None:
        """Begin the next step."""
        self._step += 1
        self._print(f"\n{self._step}/{self._steps}  {title}", bold=True)

    def say(self, line: str) -> None:
        """Tell one line; what is longer is indented under it."""
        first, *rest = line.splitlines() or [""]
        self._print(f"{self.seconds():7.2f} s  {first}")
        for more in rest:
            self._print(f"{'':11}{more}")

    def table(self, heads: Sequence[str], rows: Sequence[Sequence[str]]) -> None:
        """Print rows in columns."""
        widths = [max(len(line[i]) for line in [heads, *rows]) for i in range(len(heads))]
        for line in [heads, *rows]:
            cells = "  ".join(cell.ljust(width) for cell, width in zip(line, widths, strict=True))
            self._print(f"{'':11}{cells.rstrip()}")

    def _print(self, line: str, *, bold: bool = False) -> None:
        typer.secho(line, err=self._to_stderr, bold=bold)
