"""``algodock real``: real servers to run the tests, or the platform, against."""

from __future__ import annotations

import json
import shlex
from enum import StrEnum
from typing import Annotated

import typer

__all__ = ["command"]


class Action(StrEnum):
    """What to do with the real servers."""

    UP = "up"
    DOWN = "down"


def command(
    action: Annotated[Action, typer.Argument(help="Start them empty (installing what is missing), or stop them.")],
    *,
    as_json: Annotated[bool, typer.Option("--json", help="End with one line of JSON.")] = False,
) -> None:
    """Start or stop Apache Kafka, MinIO, PostgreSQL and Redis, real ones, on the loopback address.

    `up` prints the environment that names them: eval "$(./algodock real up)"
    """
    from algodock_cli.real.servers import RealServers
    from algodock_cli.stack.verbs.progress import steps

    servers = RealServers()
    if action is Action.DOWN:
        typer.echo("stopped" if servers.down() else "nothing ran")
        return
    environment = servers.up(steps())
    if as_json:
        typer.echo(json.dumps(environment))
        return
    for key, value in environment.items():
        typer.echo(f"export {key}={shlex.quote(value)}")
