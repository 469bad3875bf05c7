"""``algodock callbacks``: list, show, redeliver, enable, rotate-secret."""

from __future__ import annotations

from datetime import datetime
from typing import Annotated, Any, Literal

import typer

from algodock_cli.client.options import AsJson, Key, Url, gateway, print_json, table
from algodock_cli.failures import CommandFailed

__all__ = ["app"]

State = Literal["pending", "delivered", "failed", "disabled"]

app = typer.Typer(no_args_is_help=True, help="See what became of callbacks, have them sent again, renew their secret.")
TaskId = Annotated[str, typer.Argument(metavar="ID", help="The task's id.")]
Algorithm = Annotated[str | None, typer.Option("--algorithm", help="Only of this algorithm.")]
Address = Annotated[str | None, typer.Option("--to", metavar="URL", help="Only to this address.")]
Since = Annotated[datetime | None, typer.Option("--since", help="Only those that ended then or later (local time).")]
Until = Annotated[datetime | None, typer.Option("--until", help="Only those that ended before (local time).")]


@app.command("list")
def list_callbacks(  # noqa: PLR0913  (one for each option)
    *,
    state: Annotated[State | None, typer.Option("--state", help="Only these.")] = None,
    algorithm: Algorithm = None,
    to: Address = None,
    since: Since = None,
    until: Until = None,
    limit: Annotated[int, typer.Option(min=1, max=200, help="How many, the newest task first.")] = 50,
    after: Annotated[str | None, typer.Option(help="Go on after this task.")] = None,
    disabled_addresses: Annotated[
        bool, typer.Option("--disabled-addresses", help="List addresses that answered 410 instead.")
    ] = False,
    url: Url = None,
    key: Key = None,
    as_json: AsJson = False,
) -> None:
    """List callbacks; those that nobody took: --state failed."""
    with gateway(url, key) as platform:
        if disabled_addresses:
            found = platform.get("/api/v1/callbacks/disabled")
        else:
            wanted = _filter(algorithm, to, since, until) | {"state": state, "limit": limit, "after": after}
            found = platform.get("/api/v1/callbacks", **wanted)
    if as_json:
        print_json(found)
    elif disabled_addresses:
        table(("ADDRESS", "SINCE", "REASON"), [(o["url"], o["disabled_at"], o["reason"]) for o in found["disabled"]])
    else:
        heads = ("TASK", "STATE", "ATTEMPTS", "NEXT", "ADDRESS", "LAST ERROR")
        names = ("task_id", "state", "attempts", "next_at", "url", "last_error")
        table(heads, [[one[name] for name in names] for one in found["callbacks"]])
        if found["next"]:
            typer.echo(f"more: --after {found['next']}", err=True)


@app.command()
def show(task_id: TaskId, *, url: Url = None, key: Key = None, as_json: AsJson = False) -> None:
    """Show a task's callback and the log of its deliveries."""
    with gateway(url, key) as platform:
        found = platform.get(f"/api/v1/tasks/{task_id}/callback")
    _show(found, as_json=as_json)


@app.command()
def redeliver(  # noqa: PLR0913  (one for each option)
    task_id: Annotated[
        str | None, typer.Argument(metavar="[ID]", help="A task; without it, what the options say.")
    ] = None,
    *,
    state: Annotated[State | None, typer.Option("--state", help="All of this state.")] = None,
    algorithm: Algorithm = None,
    to: Address = None,
    since: Since = None,
    until: Until = None,
    url: Url = None,
    key: Key = None,
    as_json: AsJson = False,
) -> None:
    """Send a task's callback again, or all of a state: the id stays the same, the schedule begins anew."""
    if (task_id is None) == (state is None):
        raise CommandFailed("name a task, or the --state of those that are meant (failed: those that nobody took)")
    with gateway(url, key) as platform:
        if task_id is not None:
            _show(platform.post(f"/api/v1/tasks/{task_id}/callback/redeliver"), as_json=as_json)
            return
        given = {"state": state} | {n: v for n, v in _filter(algorithm, to, since, until).items() if v is not None}
        count, more = 0, True
        while more:
            done = platform.post("/api/v1/callbacks/redeliver", given)
            count, more = count + done["redelivered"], done["more"] and state != "pending"
    if as_json:
        print_json({"redelivered": count})
    else:
        typer.echo(f"{count} callbacks are due again")


@app.command()
def enable(
    address: Annotated[str, typer.Argument(metavar="URL", help="The callback_url that is disabled.")],
    *,
    with_missed: Annotated[bool, typer.Option("--redeliver", help="Send what it missed.")] = False,
    url: Url = None,
    key: Key = None,
    as_json: AsJson = False,
) -> None:
    """Let callbacks go again to an address that answered 410 (gone)."""
    with gateway(url, key) as platform:
        done = platform.post("/api/v1/callbacks/enable", {"url": address, "redeliver": with_missed}, repeat=True)
    if as_json:
        print_json(done)
        return
    typer.echo(f"{address}: {'enabled' if done['was_disabled'] else 'was not disabled'}")
    if with_missed:
        typer.echo(f"{done['redelivered']} callbacks are due again")


@app.command("rotate-secret")
def rotate_secret(
    *,
    grace: Annotated[
        float | None, typer.Option(min=0, help="Seconds for which the one before stays valid; 0: it has become known.")
    ] = None,
    url: Url = None,
    key: Key = None,
    as_json: AsJson = False,
) -> None:
    """Replace the secret that signs this key's callbacks: both sign for a while. The new one is shown this once."""
    body = {} if grace is None else {"grace_s": grace}
    with gateway(url, key) as platform:
        done = platform.post("/api/v1/keys/callback-secret/rotate", body)
    if as_json:
        print_json(done)
        return
    typer.echo(done["callback_secret"])
    for one in done["valid"][1:]:
        typer.echo(f"the one before ({one['fingerprint']}…) is valid until {one['valid_until']}", err=True)


def _filter(
    algorithm: str | None, to: str | None, since: datetime | None, until: datetime | None
) -> dict[str, str | None]:
    return {
        "algorithm": algorithm,
        "url": to,
        "since": since.astimezone().isoformat() if since else None,
        "until": until.astimezone().isoformat() if until else None,
    }


def _show(found: dict[str, Any], *, as_json: bool) -> None:
    if as_json:
        print_json(found)
        return
    typer.echo(f"{found['webhook_id']}  {found['state']}  {found['url']}  attempts {found['attempts']}")
    if found["state"] == "pending" and found["next_at"]:
        typer.echo(f"  next: {found['next_at']}")
    elif found["last_error"]:
        typer.echo(f"  {found['last_error']}")
    if found["deliveries"]:
        heads = ("ATTEMPT", "AT", "MS", "STATUS", "ERROR")
        rows = [
            (one["attempt"], one["started_at"], round(one["duration_ms"]), one["status"], one["error"])
            for one in found["deliveries"]
        ]
        table(heads, rows)
