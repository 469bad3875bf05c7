"""The options that every client verb has, declared once."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import TYPE_CHECKING, Annotated, Any

import typer

if TYPE_CHECKING:
    from algodock_cli.client.gateway import Gateway

__all__ = ["AsJson", "Key", "Name", "Url", "gateway", "print_json", "table"]

Url = Annotated[str | None, typer.Option("--url", help="The platform; default: ALGODOCK_URL, or the one started here.")]
Key = Annotated[
    str | None, typer.Option("--key", help="Its API key; default: ALGODOCK_API_KEY, a login, or the one `up` made.")
]
AsJson = Annotated[bool, typer.Option("--json", help="Print JSON.")]
Name = Annotated[str, typer.Argument(help="The algorithm's name or id.")]


def gateway(url: str | None, key: str | None, *, timeout_s: float = 60.0, patience_s: float = 10.0) -> Gateway:
    """Open a session with the platform that the options mean."""
    from algodock_cli.client.access import find_access
    from algodock_cli.client.gateway import Gateway

    return Gateway(find_access(url, key), timeout_s=timeout_s, patience_s=patience_s)


def print_json(document: Any) -> None:
    """Print one line of JSON for scripts."""
    typer.echo(json.dumps(document, ensure_ascii=False))


def table(heads: Sequence[str], rows: Sequence[Sequence[object]]) -> None:
    """Print rows in columns as wide as they need."""
    cells = [[str(cell if cell is not None else "") for cell in row] for row in rows]
    widths = [max(len(line[i]) for line in [list(heads), *cells]) for i in range(len(heads))]
    for line in [list(heads), *cells]:
        typer.echo("  ".join(cell.ljust(width) for cell, width in zip(line, widths, strict=True)).rstrip())
