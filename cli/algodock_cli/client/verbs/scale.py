"""``algodock scale``."""

from __future__ import annotations

from typing import Annotated

import typer

from algodock_cli.client.options import AsJson, Key, Name, Url, gateway, print_json

__all__ = ["command"]


def command(  # noqa: PLR0913  # options
    name: Name,
    instances: Annotated[int | None, typer.Argument(min=1, max=64, metavar="[N]", help="How many instances.")] = None,
    *,
    most: Annotated[int | None, typer.Option("--max", min=1, max=64, help="A rule instead: at most so many.")] = None,
    least: Annotated[int, typer.Option("--min", min=0, max=64, help="With --max: at least; 0: it may sleep.")] = 1,
    target: Annotated[float, typer.Option(help="With --max: calls and tasks open or waiting for each.")] = 4,
    cooldown: Annotated[float, typer.Option(min=1, help="With --max: seconds before there are fewer.")] = 60,
    idle: Annotated[float, typer.Option(min=1, help="With --min 0: seconds without a call before it sleeps.")] = 300,
    wait: Annotated[bool, typer.Option("--wait/--no-wait", help="Wait until there are so many.")] = True,
    timeout: Annotated[float, typer.Option(min=1, help="Seconds to wait.")] = 300,
    url: Url = None,
    key: Key = None,
    as_json: AsJson = False,
) -> None:
    """Let a service have N instances, or a rule say how many: they come, or go, one by one."""
    from algodock_cli.client import commanding

    if (instances is None) == (most is None):
        typer.echo("algodock: scale takes either N or --max", err=True)
        raise typer.Exit(2)
    with gateway(url, key) as platform:
        rule = {"min": least, "max": most, "target": target, "cooldown_s": cooldown, "idle_s": idle}
        body = {"instances": instances} if most is None else {"rule": rule}
        service = commanding.command(platform, "scale", name, body, timeout_s=timeout if wait else None)
    if as_json:
        print_json(service)
        return
    there = service.get("instances")
    typer.echo(f"{name} {service['status']}" + ("" if there is None else f", instances: {len(there)}"))
