"""``algodock rollback``."""

from __future__ import annotations

from typing import Annotated

import typer

from algodock_cli.client.options import AsJson, Key, Name, Url, gateway, print_json

__all__ = ["command"]


def command(
    name: Name,
    *,
    to: Annotated[str | None, typer.Option("--to", metavar="RELEASE", help="Its id; default: the one before.")] = None,
    wait: Annotated[bool, typer.Option("--wait/--no-wait", help="Follow it until it is live.")] = True,
    timeout: Annotated[float, typer.Option(min=1, help="Seconds to wait.")] = 120,
    url: Url = None,
    key: Key = None,
    as_json: AsJson = False,
) -> None:
    """Go back to an earlier release: its code, environment and configuration together."""
    from algodock_cli.client.releases import follow_release
    from algodock_cli.stack.verbs.progress import steps

    with gateway(url, key) as platform:
        answer = platform.post(f"/api/v1/services/rollback/{name}", {"release_id": to} if to else {})
        release_id = answer.get("release_id") or to
        if wait and release_id:
            release = follow_release(platform, name, release_id=release_id, timeout_s=timeout, say=steps())
            answer = {**answer, "release": release}
    if as_json:
        print_json(answer)
    else:
        typer.echo(f"{name}: {answer.get('release', answer).get('state') or answer.get('status') or 'rolling back'}")
