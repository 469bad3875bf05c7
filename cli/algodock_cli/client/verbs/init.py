"""``algodock init``."""

from __future__ import annotations

from enum import StrEnum
from importlib.resources import files
from importlib.resources.abc import Traversable
from pathlib import Path
from typing import Annotated

import typer

from algodock_cli.client.options import AsJson, print_json
from algodock_cli.failures import CommandFailed

__all__ = ["Template", "command"]

_LABEL = r"[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?"


class Template(StrEnum):
    """What there is to begin with."""

    FUNCTION = "function"
    MODEL = "model"
    IMAGE = "image"
    ASGI = "asgi"
    NODE = "node"


def command(
    name: Annotated[str, typer.Argument(help="Its name: lower-case letters, digits and inner hyphens.")],
    *,
    template: Annotated[
        Template,
        typer.Option(
            "--template",
            "-t",
            help="function: a predict function; model: a class that trains and loads one; image: a picture in and out; "
            "asgi: a main.py with FastAPI; node: a Node.js server.",
        ),
    ] = Template.FUNCTION,
    folder: Annotated[Path | None, typer.Option("--dir", help="Where; default: a new folder of that name.")] = None,
    as_json: AsJson = False,
) -> None:
    """Begin a new algorithm from a template."""
    import re

    if not re.fullmatch(_LABEL, name):
        raise typer.BadParameter(f"{name!r} is not lower-case letters, digits and inner hyphens, 63 at most")
    target = folder or Path(name)
    if target.exists() and (not target.is_dir() or any(target.iterdir())):
        raise CommandFailed(f"{target} exists and is not empty\n  next: choose another --dir")
    written = _copy(files("algodock_cli.client").joinpath("templates", template.value), target, name)
    if as_json:
        print_json({"name": name, "dir": str(target.resolve()), "files": written})
        return
    for file in written:
        typer.echo(f"  {target / file}")
    typer.echo(f"next: `algodock deploy {target}`, then `algodock predict {name}` with one of its samples")


def _copy(source: Traversable, target: Path, name: str, inside: str = "") -> list[str]:
    """Copy a template's files, with the name put in, and return their paths in the new folder."""
    written = []
    target.mkdir(parents=True, exist_ok=True)
    for item in sorted(source.iterdir(), key=lambda item: item.name):
        if item.name == "__pycache__":
            continue
        # A package may hold no dot files, and templates are no modules of ours.
        file_name = item.name.removesuffix(".txt") if item.name.endswith(".py.txt") else item.name
        file_name = ".gitignore" if file_name == "gitignore" else file_name
        if item.is_dir():
            written += _copy(item, target / file_name, name, f"{inside}{file_name}/")
            continue
        (target / file_name).write_text(item.read_text("utf-8").replace("{{name}}", name), "utf-8")
        written.append(f"{inside}{file_name}")
    return written
