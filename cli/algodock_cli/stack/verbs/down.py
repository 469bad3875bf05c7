"""``algodock down``."""

from __future__ import annotations

import os
from typing import Annotated

import typer

from algodock_cli.stack.verbs.progress import steps

__all__ = ["command"]


def command(
    *,
    keep_algorithms: Annotated[
        bool, typer.Option("--keep-algorithms", help="Leave the algorithms running; `up` finds them again.")
    ] = False,
) -> None:
    """Stop the platform, its servers and the algorithms; data stays."""
    from algodock_cli.stack.lifecycle import Stack

    ran = Stack(os.environ).down(keep_algorithms=keep_algorithms, progress=steps())
    typer.echo("stopped" if ran else "nothing ran")
