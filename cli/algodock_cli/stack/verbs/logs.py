"""``algodock logs``: of the platform's own programs here, of an algorithm through the gateway."""

from __future__ import annotations

import os
from typing import Annotated

import typer

__all__ = ["command"]


def command(
    name: Annotated[str | None, typer.Argument(help="A server, service or worker; all of them when left out.")] = None,
    *,
    lines: Annotated[int, typer.Option("--lines", "-n", min=0, help="How many of the last lines.")] = 50,
    follow: Annotated[bool, typer.Option("--follow", "-f", help="Go on as lines are written.")] = False,
) -> None:
    """Print what a program of the platform wrote last."""
    from algodock_cli.failures import CommandFailed
    from algodock_cli.stack.data_folder import DataFolder
    from algodock_cli.stack.log_files import follow_logs, last_lines, log_files

    files = log_files(DataFolder.here(os.environ))
    if name is not None:
        if name not in files:
            raise CommandFailed(f"no log of {name!r}; there are: {', '.join(files) or 'none, nothing ran yet'}")
        files = {name: files[name]}
    for program, file in files.items():
        for line in last_lines(file, lines):
            typer.echo(line if name else f"{program:12} | {line}")
    if follow:
        for program, line in follow_logs(files):
            typer.echo(line if name else f"{program:12} | {line}")
