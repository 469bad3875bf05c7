"""``algodock scale``."""

from __future__ import annotations

from typing import Annotated

import typer

from algodock_cli.client.options import AsJson, Key, Name, Url, gateway, print_json

__all__ = ["command"]


def command(
    name: Name,
    instances: Annotated[int, typer.Argument(min=1, max=64, metavar="N", help="How many instances.")],
    *,
    wait: Annotated[bool, typer.Option("--wait/--no-wait", help="Wait until there are so many.")] = True,
    timeout: Annotated[float, typer.Option(min=1, help="Seconds to wait.")] = 300,
    url: Url = None,
    key: Key = None,
    as_json: AsJson = False,
) -> None:
    """Let a service have N instances: they come, or go, one by one."""
    from algodock_cli.client import commanding

    with gateway(url, key) as platform:
        body = {"instances": instances}
        service = commanding.command(platform, "scale", name, body, timeout_s=timeout if wait else None)
    if as_json:
        print_json(service)
        return
    there = service.get("instances")
    typer.echo(f"{name} {service['status']}" + ("" if there is None else f", instances: {len(there)}"))
