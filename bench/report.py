"""What every bench is asked and says: its options, its progress, its figures and which of them miss their goals."""

from __future__ import annotations

import argparse
import json
import sys
from typing import Any

__all__ = ["Goals", "options", "report", "say"]

Goals = dict[str, tuple[str, float]]
"""For a figure's name, ``<=`` or ``>=``, and the number."""


def say(text: str) -> None:
    """Tell on standard error what is measured now."""
    print(f"bench: {text}", file=sys.stderr, flush=True)


def options(name: str, doc: str | None) -> argparse.ArgumentParser:
    """Return what ``./algodock bench <name>`` can be asked."""
    parser = argparse.ArgumentParser(prog=f"algodock bench {name}", description=(doc or "").partition("\n")[0])
    parser.add_argument("--json", action="store_true", help="end with one line of JSON")
    parser.add_argument("--check", action="store_true", help="exit with 1 when a figure misses its goal")
    parser.add_argument("--scale", type=float, default=1.0, help="more or fewer repetitions (default 1)")
    return parser


def report(figures: dict[str, Any], goals: Goals, wanted: argparse.Namespace) -> int:
    """Print the figures, and return the exit code: 1 with ``--check`` when one misses its goal."""
    missed = [name for name, goal in goals.items() if figures.get(name) is not None and not _met(figures[name], goal)]
    figures["missed"] = missed
    if wanted.json:
        print(json.dumps(figures))
    else:
        _table(figures, goals)
    return 1 if wanted.check and missed else 0


def _met(value: float, goal: tuple[str, float]) -> bool:
    relation, number = goal
    return value <= number if relation == "<=" else value >= number


def _table(figures: dict[str, Any], goals: Goals) -> None:
    for name, value in figures.items():
        if isinstance(value, dict):
            print(name, *(f"  {part:32} {number}" for part, number in value.items()), sep="\n")
            continue
        relation, goal = goals.get(name, ("", 0))
        print(f"{name:30} {value!s:>12}" + (f"   goal {relation} {goal:g}" if relation else ""))
