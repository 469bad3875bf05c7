"""``algodock task``: submit, get, wait, result, cancel; ``task_watch`` has the rest."""

from __future__ import annotations

import sys
import time
from pathlib import Path
from typing import Annotated, Any
from uuid import uuid4

import typer

from algodock_cli.client.errors import NotInTime, TaskNotSucceeded
from algodock_cli.client.gateway import Gateway
from algodock_cli.client.options import AsJson, Key, Name, Url, gateway, print_json
from algodock_cli.client.verbs import task_watch
from algodock_cli.client.verbs.predict import json_argument
from algodock_cli.failures import CommandFailed

__all__ = ["ENDED", "app", "wait_for"]

ENDED = {"succeeded", "failed", "cancelled", "expired"}
_LONGEST_POLL_S = 30

app = typer.Typer(no_args_is_help=True, help="Submit work that survives any crash, and see what became of it.")
task_watch.add_to(app)
TaskId = Annotated[str, typer.Argument(metavar="ID", help="The task's id.")]
Timeout = Annotated[float, typer.Option(min=1, help="Seconds to wait.")]


@app.command()
def submit(  # noqa: PLR0913  (one for each option)
    name: Name,
    body: Annotated[str | None, typer.Argument(metavar="[JSON|@FILE|-]", help="The input.")] = None,
    *,
    params: Annotated[str | None, typer.Option(help="JSON merged over the input.")] = None,
    callback: Annotated[str | None, typer.Option("--callback", help="A URL that is told when it ends.")] = None,
    idempotency_key: Annotated[
        str | None, typer.Option("--idempotency-key", help="Submitted twice, it is one task; default: a random one.")
    ] = None,
    priority: Annotated[int, typer.Option(min=-100, max=100, help="Higher ones first.")] = 0,
    wait: Annotated[bool, typer.Option("--wait", help="Wait for its end.")] = False,
    timeout: Timeout = 600,
    url: Url = None,
    key: Key = None,
    as_json: AsJson = False,
) -> None:
    """Submit a task; with --wait its end decides the exit code."""
    request: dict[str, Any] = {
        "algorithm": name,
        "input": json_argument(body),
        "idempotency_key": idempotency_key or uuid4().hex,
        "priority": priority,
    }
    if params is not None:
        request["params"] = json_argument(params)
    if callback is not None:
        request["callback_url"] = callback
    with gateway(url, key) as platform:
        # The key makes it one task however often it is sent.
        task = platform.post("/api/v1/tasks", request, repeat=True)
        if wait:
            task = wait_for(platform, task["id"], timeout)
    _show(task, as_json=as_json)
    if wait:
        _judge(task)


@app.command()
def get(task_id: TaskId, *, url: Url = None, key: Key = None, as_json: AsJson = False) -> None:
    """Show a task."""
    with gateway(url, key) as platform:
        _show(platform.get(f"/api/v1/tasks/{task_id}"), as_json=as_json)


@app.command()
def wait(task_id: TaskId, *, timeout: Timeout = 600, url: Url = None, key: Key = None, as_json: AsJson = False) -> None:
    """Wait for a task's end: exits 0 when it succeeded, 1 when not, 5 when it still runs."""
    with gateway(url, key) as platform:
        task = wait_for(platform, task_id, timeout)
    _show(task, as_json=as_json)
    _judge(task)


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
        _show(platform.get(f"/api/v1/tasks/{task_id}"), as_json=as_json)


def wait_for(platform: Gateway, task_id: str, timeout_s: float) -> dict[str, Any]:
    """Return the task when it has ended, by long polls.

    Raises:
        NotInTime: it has not ended within ``timeout_s``.
    """
    end = time.monotonic() + timeout_s
    while True:
        left = max(0.0, end - time.monotonic())
        task: dict[str, Any] = platform.get(f"/api/v1/tasks/{task_id}", wait=round(min(left, _LONGEST_POLL_S), 1))
        if task["state"] in ENDED:
            return task
        if time.monotonic() >= end:
            raise NotInTime(f"task {task_id} is still {task['state']} after {timeout_s:.0f} s")


def _show(task: dict[str, Any], *, as_json: bool) -> None:
    if as_json:
        print_json(task)
        return
    typer.echo(f"{task['id']}  {task['state']}  {task.get('algorithm', '')}  attempt {task.get('attempt', 0)}")
    if task.get("error"):
        typer.echo(f"  {task['error'].get('type')}: {task['error'].get('message')}")
    if task["state"] == "succeeded":
        typer.echo(f"  result: {task.get('result_url')}")


def _judge(task: dict[str, Any]) -> None:
    if task["state"] != "succeeded":
        error = task.get("error") or {}
        raise TaskNotSucceeded(
            f"task {task['id']} {task['state']}\n  why:  {error.get('message') or 'no reason was given'}"
        )
