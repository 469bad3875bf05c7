"""``algodock start``, ``stop``, ``restart``, ``redeploy`` and ``remove``: a command, then the wait until it shows."""

from __future__ import annotations

import sys
from typing import Annotated, TypeGuard

import typer

from algodock_cli.client.commanding import Action, command
from algodock_cli.client.options import AsJson, Key, Name, Url, gateway, print_json

__all__ = ["redeploy", "remove", "restart", "start", "stop"]

Names = Annotated[list[str] | None, typer.Argument(metavar="NAME...", help="One algorithm, or several.")]
All = Annotated[bool, typer.Option("--all", help="Every service for which it makes sense.")]
Group = Annotated[str | None, typer.Option("--group", help="Every service of a group.")]
Wait = Annotated[bool, typer.Option("--wait/--no-wait", help="Wait until it shows.")]
Timeout = Annotated[float, typer.Option(min=1, help="Seconds to wait.")]


def start(
    names: Names = None, *, everything: All = False, group: Group = None, wait: Wait = True, timeout: Timeout = 60,
    url: Url = None, key: Key = None, as_json: AsJson = False,
) -> None:  # fmt: skip
    """Start stopped services with the release that they had."""
    if _is_one(names, everything, group):
        _carry_out("start", names[0], wait=wait, timeout=timeout, url=url, key=key, as_json=as_json)
        return
    _many("start", names, everything, group, timeout_s=timeout if wait else None, url=url, key=key, as_json=as_json)


def stop(
    names: Names = None, *, everything: All = False, group: Group = None, wait: Wait = True, timeout: Timeout = 60,
    url: Url = None, key: Key = None, as_json: AsJson = False,
) -> None:  # fmt: skip
    """Stop services: calls in flight end, new ones get 503."""
    if _is_one(names, everything, group):
        _carry_out("stop", names[0], wait=wait, timeout=timeout, url=url, key=key, as_json=as_json)
        return
    _many("stop", names, everything, group, timeout_s=timeout if wait else None, url=url, key=key, as_json=as_json)


def restart(
    names: Names = None, *, everything: All = False, group: Group = None, wait: Wait = True, timeout: Timeout = 60,
    url: Url = None, key: Key = None, as_json: AsJson = False,
) -> None:  # fmt: skip
    """Start a service's release anew beside the running one, and switch."""
    if _is_one(names, everything, group):
        _carry_out("restart", names[0], wait=wait, timeout=timeout, url=url, key=key, as_json=as_json)
        return
    _many("restart", names, everything, group, timeout_s=timeout if wait else None, url=url, key=key, as_json=as_json)


def redeploy(
    names: Names = None, *, everything: All = False, group: Group = None, wait: Wait = True, timeout: Timeout = 300,
    url: Url = None, key: Key = None, as_json: AsJson = False,
) -> None:  # fmt: skip
    """Build and start the newest commit anew, as if it had been pushed again."""
    _many("redeploy", names, everything, group, timeout_s=timeout if wait else None, url=url, key=key, as_json=as_json)


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


def _is_one(names: list[str] | None, everything: bool, group: str | None) -> TypeGuard[list[str]]:  # noqa: FBT001
    return names is not None and len(names) == 1 and not everything and group is None


def _many(
    action: str, names: list[str] | None, everything: bool, group: str | None, *, timeout_s: float | None,  # noqa: FBT001
    url: str | None, key: str | None, as_json: bool,
) -> None:  # fmt: skip
    from algodock_cli.client.batches import begin, judge, show, wait_for

    if [bool(names), everything, group is not None].count(True) != 1:
        typer.echo(f"algodock: {action} whom? say names, --group GROUP or --all, and only one of them", err=True)
        raise typer.Exit(2)
    with gateway(url, key) as platform:
        batch = begin(platform, action, names=names, group=group)
        if timeout_s is not None:
            batch = wait_for(platform, batch, timeout_s)
    if as_json:
        print_json(batch)
    else:
        show(batch)
    judge(batch)


def _carry_out(
    action: Action, name: str, *, wait: bool, timeout: float, url: str | None, key: str | None, as_json: bool
) -> None:
    with gateway(url, key) as platform:
        service = command(platform, action, name, timeout_s=timeout if wait else None)
    if as_json:
        print_json({"name": name, "status": service["status"]})
    else:
        typer.echo(f"{name} {service['status']}")
