"""``algodock timeline``."""

from __future__ import annotations

from typing import Annotated, Any

import typer

from algodock_cli.client.options import AsJson, Key, Name, Url, gateway, print_json, table

__all__ = ["command"]


def command(
    name: Name,
    *,
    lines: Annotated[int, typer.Option("--lines", "-n", min=1, max=500, help="How many, the newest.")] = 30,
    before: Annotated[int | None, typer.Option(min=1, help="Go on before this number.")] = None,
    url: Url = None,
    key: Key = None,
    as_json: AsJson = False,
) -> None:
    """Tell what happened to a service, oldest first: pushed, built, probed, switched, restarted, and by whom."""
    with gateway(url, key) as platform:
        found = platform.get(f"/api/v1/services/timeline/{name}", limit=lines, before=before)
    if as_json:
        print_json(found)
        return
    table(("WHEN", "WHAT", "BY", "COMMIT", ""), [_row(one) for one in reversed(found["entries"])])
    if found["next"]:
        typer.echo(f"earlier: --before {found['next']}", err=True)


def _row(entry: dict[str, Any]) -> tuple[object, ...]:
    kind = entry["kind"] if entry["ok"] or entry["kind"] in {"failed", "degraded"} else f"not {entry['kind']}"
    detail = entry["detail"].strip().partition("\n")[0][:100]
    return entry["at"][:19].replace("T", " "), kind, entry["actor"] or "-", entry["commit"][:10] or "-", detail
