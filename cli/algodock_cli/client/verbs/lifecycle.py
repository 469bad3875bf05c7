"""``algodock start``, ``stop``, ``restart`` and ``remove``: a command, then the wait until it shows."""

from __future__ import annotations

import sys
from typing import Annotated

import typer

from algodock_cli.client.commanding import Action, command
from algodock_cli.client.options import AsJson, Key, Name, Url, gateway, print_json

__all__ = ["remove", "restart", "start", "stop"]

Wait = Annotated[bool, typer.Option("--wait/--no-wait", help="Wait until it shows.")]
Timeout = Annotated[float, typer.Option(min=1, help="Seconds to wait.")]


def start(
    name: Name, *, wait: Wait = True, timeout: Timeout = 60, url: Url = None, key: Key = None, as_json: AsJson = False
) -> None:
    """Start a stopped service with the release that it had."""
    _carry_out("start", name, wait=wait, timeout=timeout, url=url, key=key, as_json=as_json)


def stop(
    name: Name, *, wait: Wait = True, timeout: Timeout = 60, url: Url = None, key: Key = None, as_json: AsJson = False
) -> None:
    """Stop a service: calls in flight end, new ones get 503."""
    _carry_out("stop", name, wait=wait, timeout=timeout, url=url, key=key, as_json=as_json)


def restart(
    name: Name, *, wait: Wait = True, timeout: Timeout = 60, url: Url = None, key: Key = None, as_json: AsJson = False
) -> None:
    """Start a service's release anew beside the running one, and switch."""
    _carry_out("restart", name, wait=wait, timeout=timeout, url=url, key=key, as_json=as_json)


def remove(
    name: Name,
    *,
    yes: Annotated[bool, typer.Option("--yes", "-y", help="Do not ask.")] = False,
    wait: Wait = True,
    timeout: Timeout = 60,
    url: Url = None,
    key: Key = None,
    as_json: AsJson = False,
) -> None:
    """Remove a service; its releases and data go after a grace."""
    if not yes:
        if not sys.stdin.isatty():
            typer.echo("algodock: remove takes a service away; say --yes", err=True)
            raise typer.Exit(2)
        typer.confirm(f"Remove {name}?", abort=True)
    _carry_out("remove", name, wait=wait, timeout=timeout, url=url, key=key, as_json=as_json)


def _carry_out(
    action: Action, name: str, *, wait: bool, timeout: float, url: str | None, key: str | None, as_json: bool
) -> None:
    with gateway(url, key) as platform:
        service = command(platform, action, name, timeout_s=timeout if wait else None)
    if as_json:
        print_json({"name": name, "status": service["status"]})
    else:
        typer.echo(f"{name} {service['status']}")
