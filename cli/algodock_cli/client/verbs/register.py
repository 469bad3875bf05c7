"""``algodock register``."""

from __future__ import annotations

from typing import Annotated

import typer

from algodock_cli.client.options import AsJson, Key, Url, gateway, print_json

__all__ = ["command"]


def command(
    name: Annotated[str, typer.Argument(help="The name that it will have: lower-case letters, digits, hyphens.")],
    service_url: Annotated[str, typer.Argument(metavar="URL", help="Where it listens, as the platform reaches it.")],
    *,
    url: Url = None,
    key: Key = None,
    as_json: AsJson = False,
) -> None:
    """Make a service that runs elsewhere part of the platform; its /health is probed from now on."""
    with gateway(url, key) as platform:
        answer = platform.post("/api/v1/registry/services", {"name": name, "url": service_url}, repeat=True)
        address = f"{platform.access.url}/ai/{name}"
    if as_json:
        print_json(answer)
    else:
        typer.echo(f"{name} is registered: {address}/predict is answered by {service_url}")
