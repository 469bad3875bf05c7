"""``algodock build-log``."""

from __future__ import annotations

from typing import Annotated

import typer

from algodock_cli.client.options import Key, Name, Url, gateway

__all__ = ["command"]


def command(
    name: Name,
    *,
    release: Annotated[str | None, typer.Option("--release", help="Its id; default: the newest.")] = None,
    follow: Annotated[bool, typer.Option("--follow", "-f", help="Go on while it is built.")] = False,
    url: Url = None,
    key: Key = None,
) -> None:
    """Print the output of a release's build, also while it runs."""
    query = {"release_id": release, "follow": "1" if follow else None}
    with (
        gateway(url, key) as platform,
        platform.stream(
            "GET",
            f"/api/v1/services/build-log/{name}",
            params={name: value for name, value in query.items() if value is not None},
        ) as response,
    ):
        for text in response.iter_text():
            typer.echo(text, nl=False)
