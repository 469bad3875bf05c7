"""``algodock promote``."""

from __future__ import annotations

from typing import Annotated

import typer

from algodock_cli.client.options import AsJson, Key, Name, Url, gateway, print_json

__all__ = ["command"]


def command(
    name: Name,
    *,
    wait: Annotated[bool, typer.Option("--wait/--no-wait", help="Follow it until it is live.")] = True,
    timeout: Annotated[float, typer.Option(min=1, help="Seconds to wait.")] = 120,
    url: Url = None,
    key: Key = None,
    as_json: AsJson = False,
) -> None:
    """Let a service's canary have all the calls; `rollback` would end it."""
    from algodock_cli.client import commanding

    with gateway(url, key) as platform:
        service = commanding.command(platform, "promote", name, timeout_s=timeout if wait else None)
    if as_json:
        print_json(service)
    else:
        typer.echo(f"{name} {service['status']}, commit {str(service.get('commit') or '-')[:10]}")
