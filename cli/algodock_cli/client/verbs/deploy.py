"""``algodock deploy``."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from algodock_cli.client.options import AsJson, Key, Url, gateway, print_json

__all__ = ["command"]


def command(  # noqa: PLR0913  # one for each option
    folder: Annotated[
        Path, typer.Argument(metavar="DIR", help="The algorithm's folder.", exists=True, file_okay=False)
    ] = Path(),
    *,
    name: Annotated[
        str | None, typer.Option("--name", "-n", help="Default: `name` of its algodock.yaml, or the folder's.")
    ] = None,
    message: Annotated[str, typer.Option("--message", "-m", help="What the commit says.")] = "",
    force: Annotated[
        bool, typer.Option("--force", help="Push over another history; deploy what is unchanged.")
    ] = False,
    canary: Annotated[
        int, typer.Option(min=0, max=99, metavar="PERCENT", help="Give it only so many of the calls, until `promote`.")
    ] = 0,
    timeout: Annotated[float, typer.Option(min=1, help="Seconds to wait for it to be live.")] = 600,
    url: Url = None,
    key: Key = None,
    as_json: AsJson = False,
) -> None:
    """Push a folder to the platform and follow its release until it is live.

    A folder that is a git repository is pushed as it is (its HEAD); any other as a snapshot.
    """
    from algodock_cli.client.deploying import deploy, name_of
    from algodock_cli.stack.verbs.progress import steps

    with gateway(url, key) as platform:
        deployed = deploy(
            platform,
            folder,
            name=name or name_of(folder),
            message=message,
            force=force,
            canary=canary,
            timeout_s=timeout,
            say=steps(),
        )
    if as_json:
        print_json(
            {"name": deployed.name, "url": deployed.url, "seconds": deployed.seconds, "release": deployed.release}
        )
    else:
        state = "a canary" if deployed.release["state"] == "canary" else "live"
        typer.echo(f"{deployed.name} is {state}: POST {deployed.url}/predict")
