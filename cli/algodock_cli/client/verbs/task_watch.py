"""``algodock task``: list, events, timeline."""

from __future__ import annotations

import json
from datetime import datetime
from typing import Annotated, Any

import typer

from algodock_cli.client.errors import TaskNotSucceeded
from algodock_cli.client.options import AsJson, Key, Url, gateway, print_json, table
from algodock_cli.client.task_events import TaskEvent, task_events

__all__ = ["add_to"]

_LONGEST_PAGE = 200
_SHOWN = 8  # characters of ids of releases and instances, as git shows its own

TaskId = Annotated[str, typer.Argument(metavar="ID", help="The task's id.")]


def add_to(app: typer.Typer) -> None:
    """Add these verbs to ``algodock task``."""
    app.command("list")(list_tasks)
    app.command("events")(events)
    app.command("timeline")(timeline)


def list_tasks(  # noqa: PLR0913  (one for each option)
    algorithm: Annotated[str | None, typer.Argument(help="Only this algorithm's.")] = None,
    *,
    state: Annotated[str | None, typer.Option(help="accepted, queued, running, succeeded, …")] = None,
    mine: Annotated[bool, typer.Option("--mine", help="Only those of this key.")] = False,
    since: Annotated[datetime | None, typer.Option(help="Accepted then or later (UTC).")] = None,
    until: Annotated[datetime | None, typer.Option(help="Accepted before (UTC).")] = None,
    metadata: Annotated[
        list[str] | None, typer.Option("--metadata", metavar="KEY=VALUE", help="May be repeated.")
    ] = None,
    idempotency_key: Annotated[
        str | None, typer.Option("--idempotency-key", help="Only the one with this key.")
    ] = None,
    limit: Annotated[int, typer.Option(min=1, help="The newest so many.")] = 20,
    url: Url = None,
    key: Key = None,
    as_json: AsJson = False,
) -> None:
    """List tasks, newest first."""
    query: dict[str, Any] = {
        "algorithm": algorithm,
        "state": state,
        "mine": "1" if mine else None,
        "since": since and since.isoformat(),
        "until": until and until.isoformat(),
        "metadata": metadata or None,
        "idempotency_key": idempotency_key,
    }
    found: list[dict[str, Any]] = []
    after: str | None = None
    with gateway(url, key) as platform:
        while len(found) < limit:
            wanted = min(_LONGEST_PAGE, limit - len(found))
            page = platform.get("/api/v1/tasks", **query, limit=wanted, after=after)
            found += page["tasks"]
            after = page["next"]
            if after is None:
                break
    if as_json:
        print_json({"tasks": found, "next": after})
        return
    rows = [
        (one["id"], one["state"], one["algorithm"], one["attempt"], _moment(one["created_at"]), _why(one))
        for one in found
    ]
    table(("id", "state", "algorithm", "attempt", "accepted", ""), rows)


def events(
    task_id: TaskId,
    *,
    follow: Annotated[bool, typer.Option("--follow", "-f", help="Go on until it has ended.")] = False,
    url: Url = None,
    key: Key = None,
    as_json: AsJson = False,
) -> None:
    """Print what happens to a task and what its algorithm says; with -f its end decides the exit code."""
    ended: dict[str, Any] | None = None
    with gateway(url, key) as platform:
        for one in task_events(platform, task_id, follow=follow):
            if as_json:
                print_json(one._asdict())
            elif one.name != "done":
                typer.echo(_line(one))
            if one.name == "done":
                ended = one.data
    if follow and ended is not None and ended["state"] != "succeeded":
        raise TaskNotSucceeded(f"task {task_id} {ended['state']}\n  why:  {_why(ended) or 'no reason was given'}")


def timeline(task_id: TaskId, *, url: Url = None, key: Key = None, as_json: AsJson = False) -> None:
    """Print every step of a task: when, by which attempt, instance and release, and why."""
    steps: list[dict[str, Any]] = []
    after: int | None = -1
    with gateway(url, key) as platform:
        while after is not None:
            part = platform.get(f"/api/v1/tasks/{task_id}/timeline", after=after)
            steps += part["transitions"]
            after = part["next"]
    if as_json:
        print_json(part | {"transitions": steps})
        return
    rows = [
        (
            _moment(one["at"]),
            one["state"],
            one["attempt"] or "",
            (one["instance_id"] or "")[-_SHOWN:],
            one["commit"][:_SHOWN],
            "" if one["config_version"] is None else one["config_version"],
            " ".join(filter(None, (one["reason"], _why(one)))),
        )
        for one in steps
    ]
    table(("at (UTC)", "state", "attempt", "instance", "commit", "config", ""), rows)


def _line(one: TaskEvent) -> str:
    data = one.data
    if one.name == "state":
        attempt = f"  attempt {data['attempt']}" if data["attempt"] else ""
        why = "  ".join(filter(None, (data.get("reason"), _why(data))))
        return f"{_moment(data['at'])}  {data['state']}{attempt}" + (f"  {why}" if why else "")
    if one.name == "progress":
        share = f"{data['progress']:.0%}" if "progress" in data else ""
        return f"  {share:>4}  {data.get('message', '')}".rstrip()
    if one.name == "log":
        return f"  {data.get('level', 'INFO')}: {data.get('message', '')}"
    if "omitted_bytes" in data:
        return f"  {one.name}: {data['omitted_bytes']} bytes, too many to stream"
    return f"  {one.name}: {json.dumps(data.get('output'), ensure_ascii=False)}"


def _why(one: dict[str, Any]) -> str:
    error = one.get("error") or {}
    return f"{error.get('type')}: {error.get('message')}" if error else ""


def _moment(text: str) -> str:
    return text.replace("T", " ")[:23].rstrip("Z")
