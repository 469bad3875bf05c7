"""``algodock predict``."""

from __future__ import annotations

import json
import mimetypes
import sys
from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from algodock_cli.client.options import Key, Name, Url, gateway
from algodock_cli.failures import CommandFailed

if TYPE_CHECKING:
    import httpx

__all__ = ["command", "json_argument", "multipart"]


def command(
    name: Name,
    body: Annotated[str | None, typer.Argument(metavar="[JSON|@FILE|-]", help="The input; `-` reads it here.")] = None,
    *,
    part: Annotated[
        list[str] | None,
        typer.Option("--part", "-p", metavar="NAME=VALUE|NAME=@FILE", help="A multipart field; may be repeated."),
    ] = None,
    output: Annotated[Path | None, typer.Option("--output", "-o", help="Write the answer to this file.")] = None,
    path: Annotated[str, typer.Option(help="Another path of the service.")] = "predict",
    timeout: Annotated[float, typer.Option(min=0.1, help="Seconds to wait for the answer.")] = 300,
    url: Url = None,
    key: Key = None,
) -> None:
    """Call an algorithm and print its answer; a stream is printed as it comes."""
    if part and body is not None:
        raise typer.BadParameter("give JSON or --part, not both")
    with ExitStack() as stack:
        options: dict[str, Any] = {"json": json_argument(body)} if not part else multipart(part, stack)
        platform = stack.enter_context(gateway(url, key))
        response = stack.enter_context(
            platform.stream("POST", f"/ai/{name}/{path.lstrip('/')}", timeout=timeout, **options)
        )
        _show(response, output)


def json_argument(text: str | None) -> Any:
    """Return what ``JSON``, ``@file`` or ``-`` stands for; nothing is an empty object."""
    if text is None:
        return {}
    if text == "-":
        text = sys.stdin.read()
    elif text.startswith("@"):
        try:
            text = Path(text[1:]).read_text("utf-8")
        except (OSError, UnicodeDecodeError) as error:
            raise typer.BadParameter(f"{text[1:]} cannot be read: {error}") from error
    try:
        return json.loads(text)
    except json.JSONDecodeError as error:
        raise typer.BadParameter(f"not JSON: {error} (a file is named with @)") from error


def multipart(parts: list[str], stack: ExitStack) -> dict[str, Any]:
    """Return what httpx needs to send ``NAME=VALUE`` and ``NAME=@FILE`` as a form; ``stack`` closes the files."""
    fields: list[tuple[str, Any]] = []
    for part in parts:
        name, equals, value = part.partition("=")
        if not equals or not name:
            raise typer.BadParameter(f"{part!r} is not NAME=VALUE or NAME=@FILE")
        if not value.startswith("@"):
            fields.append((name, (None, value)))
            continue
        file = Path(value[1:])
        try:
            opened = stack.enter_context(file.open("rb"))
        except OSError as error:
            raise typer.BadParameter(f"{file} cannot be read: {error.strerror}") from error
        fields.append((name, (file.name, opened, mimetypes.guess_type(file.name)[0] or "application/octet-stream")))
    return {"files": fields}


def _show(response: httpx.Response, output: Path | None) -> None:
    content_type = response.headers.get("content-type", "").partition(";")[0]
    if output is not None:
        with output.open("wb") as file:
            size = sum(file.write(block) for block in response.iter_bytes())
        typer.echo(f"{output}: {content_type or 'no content type'}, {size} bytes", err=True)
    elif content_type == "text/event-stream":
        for line in response.iter_lines():
            typer.echo(line)
    elif content_type.endswith("json"):
        response.read()
        typer.echo(json.dumps(response.json(), ensure_ascii=False, indent=2 if sys.stdout.isatty() else None))
    elif content_type.startswith("text/") or not sys.stdout.isatty():
        for block in response.iter_bytes():
            sys.stdout.buffer.write(block)
        sys.stdout.buffer.flush()
    else:
        raise CommandFailed(f"the answer is {content_type}, which no terminal shows\n  next: repeat it with -o FILE")
