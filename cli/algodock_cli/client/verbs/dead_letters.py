"""``algodock dead-letters``: list, show, replay."""

from __future__ import annotations

from typing import Annotated, Any, Literal

import typer

from algodock_cli.client.options import AsJson, Key, Url, gateway, print_json, table

__all__ = ["app"]

Kind = Literal["task", "message"]

app = typer.Typer(no_args_is_help=True, help="See what failed for good, and run it again.")
LetterId = Annotated[str, typer.Argument(metavar="ID", help="The dead letter's id; of a task it is the task's.")]


@app.command("list")
def list_letters(  # noqa: PLR0913  (one for each option)
    *,
    kind: Annotated[Kind | None, typer.Option("--kind", help="Only tasks, or only messages.")] = None,
    algorithm: Annotated[str | None, typer.Option("--algorithm", help="Only of this algorithm.")] = None,
    topic: Annotated[str | None, typer.Option("--topic", help="Only messages of this topic.")] = None,
    error: Annotated[str | None, typer.Option("--error", metavar="TYPE", help="Only with this type of error.")] = None,
    replayed: Annotated[
        bool | None, typer.Option("--replayed/--not-replayed", help="Only those that were replayed, or were not.")
    ] = None,
    limit: Annotated[int, typer.Option(min=1, max=200, help="How many, the newest first.")] = 50,
    after: Annotated[str | None, typer.Option(help="Go on after this one.")] = None,
    url: Url = None,
    key: Key = None,
    as_json: AsJson = False,
) -> None:
    """List dead letters."""
    wanted = {
        "kind": kind, "algorithm": algorithm, "topic": topic, "error_type": error, "replayed": replayed,
        "limit": limit, "after": after,
    }  # fmt: skip
    with gateway(url, key) as platform:
        found = platform.get("/api/v1/dead-letters", **wanted)
    if as_json:
        print_json(found)
        return
    heads = ("ID", "KIND", "OF", "ERROR", "STORED", "REPLAYED AS")
    table(heads, [_row(one) for one in found["dead_letters"]])
    if found["next"]:
        typer.echo(f"more: --after {found['next']}", err=True)


@app.command()
def show(letter_id: LetterId, *, url: Url = None, key: Key = None, as_json: AsJson = False) -> None:
    """Show a dead letter with its reason; of a message what it said."""
    with gateway(url, key) as platform:
        found = platform.get(f"/api/v1/dead-letters/{letter_id}")
    if as_json:
        print_json(found)
        return
    typer.echo("  ".join(str(word) for word in _row(found)))
    typer.echo(f"  {found['error_type']}: {found['reason']}")
    typer.echo(f"  attempts: {found['attempts']}")
    if found["kind"] == "message":
        typer.echo(
            f"  from: {found['topic']}/{found['partition']} at {found['offset']}, given up by {found['consumer']}"
        )
        typer.echo(f"  {found['text'] if found['text'] is not None else 'base64: ' + str(found['base64'])}")


@app.command()
def replay(letter_id: LetterId, *, url: Url = None, key: Key = None, as_json: AsJson = False) -> None:
    """Run a failed task again as a new one, or give a message to its topic again; a repeat changes nothing."""
    with gateway(url, key) as platform:
        found = platform.post(f"/api/v1/dead-letters/{letter_id}/replay", repeat=True)
    if as_json:
        print_json(found)
    elif found["task_id"]:
        typer.echo(f"{letter_id} was replayed as task {found['task_id']}")
    else:
        typer.echo(f"{letter_id} lies on {found['topic']} again")


def _row(letter: dict[str, Any]) -> tuple[object, ...]:
    replayed = letter["replayed_as"] or letter["replayed_at"] or ""
    of = letter["algorithm"] or letter["topic"]
    return letter["id"], letter["kind"], of, letter["error_type"], letter["stored_at"], replayed
