"""``algodock task``: get, wait, result, cancel; ``task_submit`` and ``task_watch`` have the rest."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated

import typer

from algodock_cli.client.ended import judge, show, wait_for
from algodock_cli.client.options import AsJson, Key, Url, gateway
from algodock_cli.client.verbs import task_submit, task_watch
from algodock_cli.failures import CommandFailed

__all__ = ["app"]

app = typer.Typer(no_args_is_help=True, help="Submit work that survives any crash, and see what became of it.")
task_submit.add_to(app)
task_watch.add_to(app)
TaskId = Annotated[str, typer.Argument(metavar="ID", help="The task's id.")]
Timeout = Annotated[float, typer.Option(min=1, help="Seconds to wait.")]


@app.command()
def get(task_id: TaskId, *, url: Url = None, key: Key = None, as_json: AsJson = False) -> None:
    """Show a task."""
    with gateway(url, key) as platform:
        show(platform.get(f"/api/v1/tasks/{task_id}"), as_json=as_json)


@app.command()
def wait(task_id: TaskId, *, timeout: Timeout = 600, url: Url = None, key: Key = None, as_json: AsJson = False) -> None:
    """Wait for a task's end: exits 0 when it succeeded, 1 when not, 5 when it still runs."""
    with gateway(url, key) as platform:
        task = wait_for(platform, task_id, timeout)
    show(task, as_json=as_json)
    judge(task)


@app.command()
def result(
    task_id: TaskId,
    *,
    output: Annotated[Path | None, typer.Option("--output", "-o", help="Write it to this file.")] = None,
    url: Url = None,
    key: Key = None,
) -> None:
    """Print a task's result, or write it to a file."""
    with gateway(url, key) as platform:
        response = platform.request("GET", f"/api/v1/tasks/{task_id}/result", repeat=True, follow_redirects=True)
    content_type = response.headers.get("content-type", "").partition(";")[0]
    if output is not None:
        output.write_bytes(response.content)
        typer.echo(f"{output}: {content_type}, {len(response.content)} bytes", err=True)
    elif sys.stdout.isatty() and not (content_type.startswith("text/") or content_type.endswith("json")):
        raise CommandFailed(f"the result is {content_type}, which no terminal shows\n  next: repeat it with -o FILE")
    else:
        sys.stdout.buffer.write(response.content)
        sys.stdout.buffer.write(b"\n" if sys.stdout.isatty() else b"")
        sys.stdout.buffer.flush()


@app.command()
def cancel(
    task_id: TaskId,
    *,
    force: Annotated[bool, typer.Option("--force", help="Do not wait for the algorithm to agree.")] = False,
    url: Url = None,
    key: Key = None,
    as_json: AsJson = False,
) -> None:
    """Ask for a task to be cancelled."""
    with gateway(url, key) as platform:
        platform.post(f"/api/v1/tasks/{task_id}/cancel", {"force": force}, repeat=True)
        show(platform.get(f"/api/v1/tasks/{task_id}"), as_json=as_json)
