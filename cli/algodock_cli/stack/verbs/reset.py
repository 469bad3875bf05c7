"""``algodock reset``."""

from __future__ import annotations

import os
import sys
from typing import Annotated

import typer

from algodock_cli.stack.verbs.progress import steps

__all__ = ["command"]


def command(*, yes: Annotated[bool, typer.Option("--yes", "-y", help="Do not ask.")] = False) -> None:
    """Stop everything and delete the data folder: databases, objects, repositories, releases, keys."""
    from algodock_cli.stack.lifecycle import Stack

    stack = Stack(os.environ)
    if not yes:
        if not sys.stdin.isatty():
            typer.echo("algodock: reset deletes data; say --yes", err=True)
            raise typer.Exit(2)
        typer.confirm(f"Delete everything in {stack.folder.path}?", abort=True)
    stack.reset(progress=steps())
