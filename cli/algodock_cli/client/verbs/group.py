"""``algodock group``: services that are started, stopped, restarted and redeployed together."""

from __future__ import annotations

from typing import Annotated, Any

import typer

from algodock_cli.client.options import AsJson, Key, Url, gateway, print_json, table

__all__ = ["app"]

app = typer.Typer(no_args_is_help=True, help="Put services into groups that are commanded together.")
GroupName = Annotated[str, typer.Argument(metavar="GROUP", help="The group's name.")]
Names = Annotated[list[str] | None, typer.Argument(metavar="NAME...", help="Algorithms.")]
_PATH = "/api/v1/service-groups"


@app.command("list")
def list_groups(*, url: Url = None, key: Key = None, as_json: AsJson = False) -> None:
    """List the groups and who is in them."""
    with gateway(url, key) as platform:
        found = platform.get(_PATH)
    if as_json:
        print_json(found)
        return
    rows = [(one["name"], one["owner"], " ".join(one["services"])) for one in found["groups"]]
    table(("GROUP", "OWNER", "SERVICES"), rows)


@app.command()
def create(group: GroupName, names: Names = None, *, url: Url = None, key: Key = None, as_json: AsJson = False) -> None:
    """Make a group; its services leave the groups that they were in."""
    with gateway(url, key) as platform:
        _show(platform.post(_PATH, {"name": group, "services": names or []}), as_json=as_json)


@app.command()
def add(group: GroupName, names: Names = None, *, url: Url = None, key: Key = None, as_json: AsJson = False) -> None:
    """Put services into a group."""
    _change(group, {"add": names or []}, url=url, key=key, as_json=as_json)


@app.command()
def take(group: GroupName, names: Names = None, *, url: Url = None, key: Key = None, as_json: AsJson = False) -> None:
    """Take services out of a group."""
    _change(group, {"remove": names or []}, url=url, key=key, as_json=as_json)


@app.command()
def rename(
    group: GroupName,
    name: Annotated[str, typer.Argument(metavar="NAME", help="Its new name.")],
    *,
    url: Url = None,
    key: Key = None,
    as_json: AsJson = False,
) -> None:
    """Give a group another name."""
    _change(group, {"name": name}, url=url, key=key, as_json=as_json)


@app.command()
def remove(group: GroupName, *, url: Url = None, key: Key = None) -> None:
    """Remove a group; its services stay as they are."""
    with gateway(url, key) as platform:
        platform.request("DELETE", f"{_PATH}/{group}")
    typer.echo(f"{group} is removed")


def _change(group: str, change: dict[str, Any], *, url: str | None, key: str | None, as_json: bool) -> None:
    with gateway(url, key) as platform:
        changed = platform.request("PATCH", f"{_PATH}/{group}", repeat=True, json=change).json()
    _show(changed, as_json=as_json)


def _show(group: dict[str, Any], *, as_json: bool) -> None:
    if as_json:
        print_json(group)
    else:
        typer.echo(f"{group['name']}: {' '.join(group['services']) or 'nobody'}")
