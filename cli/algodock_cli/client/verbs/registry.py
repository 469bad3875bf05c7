"""``algodock registry``: where services are served, and how much each instance gets."""

from __future__ import annotations

from typing import Annotated

import typer

from algodock_cli.client.options import AsJson, Key, Name, Url, gateway, print_json, table

__all__ = ["app"]

app = typer.Typer(no_args_is_help=True, help="See where services are served; weigh and drain instances.")
InstanceId = Annotated[str, typer.Argument(metavar="INSTANCE", help="The instance's id.")]
_PATH = "/api/v1/registry"


@app.command("list")
def list_services(*, url: Url = None, key: Key = None, as_json: AsJson = False) -> None:
    """List every registered service with its instances: address, state, weight."""
    with gateway(url, key) as platform:
        found = platform.get(f"{_PATH}/services")
    if as_json:
        print_json(found)
        return
    rows = [
        (service["name"], one["instance_id"], one["base_url"], one["state"], one["weight"], one["status"])
        for service in found["services"]
        for one in service["instances"]
    ]
    table(("NAME", "INSTANCE", "ADDRESS", "STATE", "WEIGHT", "SAYS"), rows)


@app.command()
def discover(name: Name, *, url: Url = None, key: Key = None, as_json: AsJson = False) -> None:
    """Print the addresses that take calls for a name, one a line."""
    with gateway(url, key) as platform:
        found = platform.get(f"{_PATH}/discover/{name}")
    if as_json:
        print_json(found)
        return
    for one in found["instances"]:
        typer.echo(one["base_url"])


@app.command()
def weigh(
    instance: InstanceId,
    weight: Annotated[int, typer.Argument(min=0, max=1000, help="Its share beside the others'; 0: nothing new.")],
    *,
    force: Annotated[bool, typer.Option("--force", help="Also when no other one takes calls.")] = False,
    url: Url = None,
    key: Key = None,
    as_json: AsJson = False,
) -> None:
    """Give an instance more or less of its service's calls."""
    _weigh(instance, weight, force=force, url=url, key=key, as_json=as_json)


@app.command()
def drain(
    instance: InstanceId,
    *,
    force: Annotated[bool, typer.Option("--force", help="Also when no other one takes calls.")] = False,
    url: Url = None,
    key: Key = None,
    as_json: AsJson = False,
) -> None:
    """Send an instance nothing new; its open calls end. `weigh INSTANCE 1` takes it back."""
    _weigh(instance, 0, force=force, url=url, key=key, as_json=as_json)


def _weigh(instance: str, weight: int, *, force: bool, url: str | None, key: str | None, as_json: bool) -> None:
    body = {"weight": weight, "force": force}
    with gateway(url, key) as platform:
        found = platform.request("PUT", f"{_PATH}/instances/{instance}/weight", repeat=True, json=body).json()
    if as_json:
        print_json(found)
    else:
        typer.echo(f"{found['algorithm']} {found['host']}:{found['port']} {found['state']}, weight {found['weight']}")
