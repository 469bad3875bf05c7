"""``algodock task``: submit (one, with files, or many), rerun."""

from __future__ import annotations

import json
import sys
from contextlib import ExitStack
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any
from uuid import uuid4

import typer

from algodock_cli.client.ended import judge, show, wait_for
from algodock_cli.client.options import AsJson, Key, Url, gateway, print_json
from algodock_cli.client.verbs.predict import json_argument, multipart
from algodock_cli.failures import CommandFailed

if TYPE_CHECKING:
    from collections.abc import Iterator

    from algodock_cli.client.gateway import Gateway

__all__ = ["add_to"]

_TASKS = "/api/v1/tasks"
_BATCH = 1000

_Callback = Annotated[str | None, typer.Option("--callback", help="A URL that is told when it ends.")]
_IdempotencyKey = Annotated[
    str | None, typer.Option("--idempotency-key", help="Submitted twice, it is one task; default: a random one.")
]
_Params = Annotated[str | None, typer.Option(help="JSON merged over the input.")]
_Version = Annotated[str | None, typer.Option("--version", help="Only this release: its id or its commit.")]
_Wait = Annotated[bool, typer.Option("--wait", help="Wait for its end.")]
_Timeout = Annotated[float, typer.Option(min=1, help="Seconds to wait.")]


def add_to(app: typer.Typer) -> None:
    """Add these verbs to ``algodock task``."""
    app.command()(submit)
    app.command()(rerun)


def submit(  # noqa: PLR0913  (one for each option)
    name: Annotated[str | None, typer.Argument(help="The algorithm's name or id.")] = None,
    body: Annotated[str | None, typer.Argument(metavar="[JSON|@FILE|-]", help="The input.")] = None,
    *,
    part: Annotated[
        list[str] | None,
        typer.Option("--part", "-p", metavar="NAME=VALUE|NAME=@FILE", help="A file or field; may be repeated."),
    ] = None,
    batch: Annotated[
        Path | None, typer.Option("--batch", metavar="FILE.jsonl|-", help="Submit each line: a request as JSON.")
    ] = None,
    params: _Params = None,
    version: _Version = None,
    callback: _Callback = None,
    idempotency_key: _IdempotencyKey = None,
    priority: Annotated[int, typer.Option(min=-100, max=100, help="Higher ones first.")] = 0,
    not_before: Annotated[datetime | None, typer.Option("--not-before", help="Not to be begun earlier (UTC).")] = None,
    deadline: Annotated[datetime | None, typer.Option(help="Expired if it has not ended by then (UTC).")] = None,
    max_attempts: Annotated[int | None, typer.Option("--max-attempts", min=1, max=20)] = None,
    metadata: Annotated[
        list[str] | None, typer.Option("--metadata", metavar="KEY=VALUE", help="May be repeated.")
    ] = None,
    wait: _Wait = False,
    timeout: _Timeout = 600,
    url: Url = None,
    key: Key = None,
    as_json: AsJson = False,
) -> None:
    """Submit a task; with --wait its end decides the exit code. With --batch many, the rest as their lines say."""
    if batch is not None:
        if body is not None or part:
            raise typer.BadParameter("the lines of --batch are the tasks; give no input beside it")
        with gateway(url, key) as platform:
            _submit_lines(platform, batch, name, as_json=as_json)
        return
    if name is None:
        raise typer.BadParameter("name the algorithm")
    said: dict[str, Any] = {
        "algorithm": name,
        "idempotency_key": idempotency_key or uuid4().hex,
        "priority": priority,
        "version": version,
        "params": None if params is None else json_argument(params),
        "callback_url": callback,
        "not_before": _utc(not_before),
        "deadline": _utc(deadline),
        "max_attempts": max_attempts,
        "metadata": _pairs(metadata),
    }
    request = {field: value for field, value in said.items() if value is not None}
    if body is not None or not part:
        request["input"] = json_argument(body)
    with ExitStack() as stack:
        platform = stack.enter_context(gateway(url, key))
        if part:
            form = multipart(part, stack)
            files = [("task", (None, json.dumps(request), "application/json")), *form["files"]]
            task = platform.request("POST", _TASKS, files=files, timeout=None).json()
        else:  # the key makes it one task however often it is sent
            task = platform.post(_TASKS, request, repeat=True)
        _tell(platform, task, wait=wait, timeout_s=timeout, as_json=as_json)


def rerun(  # noqa: PLR0913  (one for each option)
    task_id: Annotated[str, typer.Argument(metavar="ID", help="The task's id.")],
    body: Annotated[str | None, typer.Argument(metavar="[JSON|@FILE|-]", help="Another input.")] = None,
    *,
    params: _Params = None,
    version: _Version = None,
    callback: _Callback = None,
    idempotency_key: _IdempotencyKey = None,
    wait: _Wait = False,
    timeout: _Timeout = 600,
    url: Url = None,
    key: Key = None,
    as_json: AsJson = False,
) -> None:
    """Run a task again: on another version, with other input or parameters, or as it was."""
    said: dict[str, Any] = {
        "idempotency_key": idempotency_key or uuid4().hex,
        "params": None if params is None else json_argument(params),
        "version": version,
        "callback_url": callback,
    }
    request = {field: value for field, value in said.items() if value is not None}
    if body is not None:
        request["input"] = json_argument(body)
    with gateway(url, key) as platform:
        task = platform.post(f"{_TASKS}/{task_id}/rerun", request, repeat=True)
        _tell(platform, task, wait=wait, timeout_s=timeout, as_json=as_json)


def _tell(platform: Gateway, task: dict[str, Any], *, wait: bool, timeout_s: float, as_json: bool) -> None:
    if wait:
        task = wait_for(platform, task["id"], timeout_s)
    show(task, as_json=as_json)
    if wait:
        judge(task)


def _submit_lines(platform: Gateway, file: Path, name: str | None, *, as_json: bool) -> None:
    """Submit the file's lines and print for each its task, or why it was refused."""
    refused = 0
    for batch in _batches(file, name):
        answers = platform.post(_TASKS, {"tasks": batch}, repeat=True)["tasks"]
        for answer in answers:
            error = answer.get("error") if "id" not in answer else None
            refused += error is not None
            if as_json:
                print_json(answer)
            elif error is not None:
                typer.echo(f"refused  {error.get('detail')}")
            else:
                typer.echo(f"{answer['id']}  {answer['state']}  {answer['algorithm']}")
    if refused:
        raise CommandFailed(f"{refused} of the tasks were refused")


def _batches(file: Path, name: str | None) -> Iterator[list[dict[str, Any]]]:
    """Give the lines' requests, as many at once as one call takes; each gets what makes it one task."""
    batch: list[dict[str, Any]] = []
    try:
        text = sys.stdin if str(file) == "-" else file.open("r", encoding="utf-8")
    except OSError as error:
        raise typer.BadParameter(f"{file} cannot be read: {error.strerror}") from error
    with text:
        for number, line in enumerate(text, 1):
            if not line.strip():
                continue
            try:
                request = json.loads(line)
            except ValueError as error:
                raise CommandFailed(f"{file}, line {number} is not JSON: {error}") from error
            if not isinstance(request, dict):
                raise CommandFailed(f"{file}, line {number} is no JSON object")
            batch.append({"idempotency_key": uuid4().hex, **({"algorithm": name} if name else {}), **request})
            if len(batch) == _BATCH:
                yield batch
                batch = []
    if batch:
        yield batch


def _utc(moment: datetime | None) -> str | None:
    return None if moment is None else moment.replace(tzinfo=UTC).isoformat()


def _pairs(given: list[str] | None) -> dict[str, str] | None:
    if not given:
        return None
    pairs = {}
    for one in given:
        name, equals, value = one.partition("=")
        if not equals:
            raise typer.BadParameter(f"{one!r} is not KEY=VALUE")
        pairs[name] = value
    return pairs
