"""``algodock status``."""

from __future__ import annotations

import json
import os
from dataclasses import asdict
from typing import Annotated

import typer

__all__ = ["command"]

_NOT_HEALTHY = 5


def command(*, as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False) -> None:
    """Show every server, service and worker; exits 0 when all are ready, 3 when nothing runs, 5 otherwise."""
    from algodock_cli.stack.lifecycle import Stack

    programs = Stack(os.environ).health()
    healthy = all(program.ready for program in programs)
    if as_json:
        typer.echo(json.dumps({"healthy": healthy, "programs": [asdict(program) for program in programs]}))
    else:
        for program in programs:
            word = "ready" if program.ready else program.said or program.state
            process = f"pid {program.pid:<7} 127.0.0.1:{program.port:<5} {program.uptime_s:9.1f} s"
            typer.echo(f"{program.name:12} {program.state:9} {process}  {word}")
    raise typer.Exit(0 if healthy else _NOT_HEALTHY)
