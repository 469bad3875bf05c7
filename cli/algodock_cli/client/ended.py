"""Tasks as a person reads them: waited for, shown, judged by their end."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any

import typer

from algodock_cli.client.errors import NotInTime, TaskNotSucceeded
from algodock_cli.client.options import print_json

if TYPE_CHECKING:
    from algodock_cli.client.gateway import Gateway

__all__ = ["ENDED", "judge", "show", "wait_for"]

ENDED = {"succeeded", "failed", "cancelled", "expired"}
_LONGEST_POLL_S = 30


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


def show(task: dict[str, Any], *, as_json: bool) -> None:
    """Print a task: a few lines, or its JSON."""
    if as_json:
        print_json(task)
        return
    typer.echo(f"{task['id']}  {task['state']}  {task.get('algorithm', '')}  attempt {task.get('attempt', 0)}")
    if task.get("error"):
        typer.echo(f"  {task['error'].get('type')}: {task['error'].get('message')}")
    if task["state"] == "succeeded":
        typer.echo(f"  result: {task.get('result_url')}")


def judge(task: dict[str, Any]) -> None:
    """Let the task's end be the command's.

    Raises:
        TaskNotSucceeded: it has another one than success.
    """
    if task["state"] != "succeeded":
        error = task.get("error") or {}
        raise TaskNotSucceeded(
            f"task {task['id']} {task['state']}\n  why:  {error.get('message') or 'no reason was given'}"
        )
