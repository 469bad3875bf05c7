"""``algodock logs``: of the platform's own programs here, of an algorithm through the gateway."""

from __future__ import annotations

import os
from typing import Annotated

import typer

from algodock_cli.client.options import Key, Url, gateway

__all__ = ["command"]


def command(  # noqa: PLR0913  (one for each option)
    name: Annotated[
        str | None, typer.Argument(help="A server, service, worker or algorithm; all but algorithms when left out.")
    ] = None,
    *,
    lines: Annotated[int, typer.Option("--lines", "-n", min=0, help="How many of the last lines.")] = 50,
    follow: Annotated[bool, typer.Option("--follow", "-f", help="Go on as lines are written.")] = False,
    stream: Annotated[str | None, typer.Option(help="Of an algorithm: stdout or stderr only.")] = None,
    search: Annotated[str | None, typer.Option("--search", "-s", help="Of an algorithm: lines with this text.")] = None,
    since: Annotated[str | None, typer.Option(help="Of an algorithm: from this time on, or 15m, 2h, 1d ago.")] = None,
    until: Annotated[str | None, typer.Option(help="Of an algorithm: until this time, or as long ago.")] = None,
    url: Url = None,
    key: Key = None,
) -> None:
    """Print what a program of the platform, or an algorithm, wrote last."""
    from algodock_cli.client.algorithm_logs import algorithm_logs
    from algodock_cli.stack.data_folder import DataFolder
    from algodock_cli.stack.log_files import follow_logs, last_lines, log_files

    if name is None and (search or since or until or stream):
        msg = "--search, --since, --until and --stream are of one algorithm: name it"
        raise typer.BadParameter(msg)
    files = log_files(DataFolder.here(os.environ))
    if name is not None and name not in files:
        with gateway(url, key) as platform:
            found = algorithm_logs(
                platform, name, lines=lines, stream=stream, follow=follow, search=search, since=since, until=until
            )
            for line in found:
                typer.echo(line)
        return
    if name is not None:
        files = {name: files[name]}
    for program, file in files.items():
        for line in last_lines(file, lines):
            typer.echo(line if name else f"{program:12} | {line}")
    if follow:
        for program, line in follow_logs(files):
            typer.echo(line if name else f"{program:12} | {line}")
