"""Says each step on standard error as it happens: standard output is for answers."""

from __future__ import annotations

import time
from collections.abc import Callable

import typer

__all__ = ["steps"]


def steps() -> Callable[[str], None]:
    """Return a function that prints a step with the seconds since now."""
    began = time.monotonic()

    def say(step: str) -> None:
        typer.echo(f"{time.monotonic() - began:6.1f} s  {step}", err=True)

    return say
