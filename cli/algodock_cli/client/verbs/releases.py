"""``algodock releases``."""

from __future__ import annotations

from typing import Annotated, Any

import typer

from algodock_cli.client.options import AsJson, Key, Name, Url, gateway, print_json, table

__all__ = ["command"]


def command(
    name: Name,
    *,
    steps: Annotated[bool, typer.Option("--steps", help="Show each release's steps and times.")] = False,
    url: Url = None,
    key: Key = None,
    as_json: AsJson = False,
) -> None:
    """List an algorithm's releases, newest first, with what became of each and why."""
    with gateway(url, key) as platform:
        releases = platform.get(f"/api/v1/services/releases/{name}")["releases"]
    if as_json:
        print_json({"releases": releases})
        return
    if not releases:
        typer.echo(f"{name} has no release yet; `algodock deploy DIR` or a git push makes one")
        return
    table(
        ("RELEASE", "STATE", "COMMIT", "CREATED", "WHAT"),
        [
            (
                release["id"],
                release["state"],
                release["commit"][:10],
                str(release.get("created_at") or "")[:19],
                _first_line(release.get("reason") or release.get("message")),
            )
            for release in releases
        ],
    )
    if steps:
        for release in releases:
            _show_steps(release)


def _first_line(text: str | None) -> str:
    return (text or "").strip().partition("\n")[0][:100]


def _show_steps(release: dict[str, Any]) -> None:
    from algodock_cli.client.releases import step_line

    typer.echo(f"\n{release['id']}  {release['commit'][:10]}  {release['state']}")
    for step in release.get("steps") or []:
        typer.echo(f"  {step_line(step)}")
    if release.get("reason"):
        typer.echo(f"  {release['reason']}")
