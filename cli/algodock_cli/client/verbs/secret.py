"""``algodock secret``: what only a service's programs may know."""

from __future__ import annotations

import sys
from typing import Annotated

import typer

from algodock_cli.client.options import AsJson, Key, Url, gateway, print_json, table

__all__ = ["app"]

app = typer.Typer(no_args_is_help=True, help="Give a service secrets: variables that only its programs see.")
Service = Annotated[str, typer.Argument(metavar="NAME", help="The algorithm.")]
Secret = Annotated[str, typer.Argument(metavar="SECRET", help="The variable, such as OPENAI_API_KEY.")]
_PATH = "/api/v1/services/secrets"


@app.command("set")
def set_secret(name: Service, secret: Secret, *, url: Url = None, key: Key = None) -> None:
    """Set a secret; its value is asked for, or read from standard input, so that no list of processes shows it."""
    asked = sys.stdin.isatty()
    value = typer.prompt(secret, hide_input=True) if asked else sys.stdin.read().removesuffix("\n")
    with gateway(url, key) as platform:
        platform.request("PUT", f"{_PATH}/{name}/{secret}", repeat=True, json={"value": value})
    typer.echo(f"{secret} is set; {name} has it from its next start on: algodock restart {name}")


@app.command("list")
def list_secrets(name: Service, *, url: Url = None, key: Key = None, as_json: AsJson = False) -> None:
    """List the secrets of a service, without their values."""
    with gateway(url, key) as platform:
        found = platform.get(f"{_PATH}/{name}")
    if as_json:
        print_json(found)
        return
    table(("SECRET", "SET", "BY"), [(one["name"], one["set_at"][:19], one["set_by"]) for one in found["secrets"]])


@app.command()
def remove(name: Service, secret: Secret, *, url: Url = None, key: Key = None) -> None:
    """Remove a secret; programs that run keep it until their next start."""
    with gateway(url, key) as platform:
        platform.request("DELETE", f"{_PATH}/{name}/{secret}")
    typer.echo(f"{secret} is removed; what runs keeps it until its next start: algodock restart {name}")
