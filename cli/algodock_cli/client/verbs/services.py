"""``algodock services``."""

from __future__ import annotations

from typing import Annotated

import typer

from algodock_cli.client.options import AsJson, Key, Url, gateway, print_json, table

__all__ = ["command"]


def command(
    *,
    state: Annotated[str | None, typer.Option(help="Only those in this state, e.g. running or failed.")] = None,
    group: Annotated[str | None, typer.Option(help="Only those of this group.")] = None,
    url: Url = None,
    key: Key = None,
    as_json: AsJson = False,
) -> None:
    """List what is deployed: state, port, commit and address."""
    with gateway(url, key) as platform:
        services = platform.get("/api/v1/services", state=state, group=group)["services"]
    if as_json:
        print_json({"services": services})
    elif not services:
        typer.echo("nothing is deployed yet; `algodock deploy DIR` or a git push changes that")
    else:
        table(
            ("NAME", "STATUS", "PORT", "COMMIT", "ADDRESS", ""),
            [
                (
                    service["name"],
                    service["status"],
                    service.get("port") or "-",
                    (service.get("commit") or "")[:10],
                    service.get("api_url"),
                    "" if service["status"] == "running" else service.get("message"),
                )
                for service in services
            ],
        )
