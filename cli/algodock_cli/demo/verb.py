"""``algodock demo``."""

from __future__ import annotations

import json
import os
from dataclasses import asdict
from typing import Annotated

import typer

__all__ = ["command"]

_STEPS = 7


def command(
    *,
    down: Annotated[bool, typer.Option("--down", help="Stop everything at the end.")] = False,
    as_json: Annotated[
        bool, typer.Option("--json", help="End with one line of JSON; the rest on standard error.")
    ] = False,
) -> None:
    """Set everything up and do the main job before your eyes: push, deploy, predict, task, result, callback.

    Leaves the platform running unless --down is given, and may be run again and again.
    """
    from algodock_cli.client.access import Access
    from algodock_cli.client.gateway import Gateway
    from algodock_cli.demo.story import Figures, Story
    from algodock_cli.demo.telling import Teller
    from algodock_cli.failures import CommandFailed
    from algodock_cli.stack.data_folder import project_folder
    from algodock_cli.stack.lifecycle import Stack

    tell = Teller(to_stderr=as_json, steps=_STEPS)
    stack = Stack(os.environ)
    figures = Figures()
    failure: CommandFailed | None = None
    try:
        tell.step("servers and services up")
        access = stack.up(progress=tell.say)
        with Gateway(Access(access.url, access.api_key), timeout_s=90, patience_s=60) as gateway:
            story = Story(
                gateway,
                access.kafka,
                access.callback_secret,
                examples=project_folder() / "examples",
                keep=stack.folder.path / "demo",
                tell=tell,
                figures=figures,
            )
            story.push_and_follow()
            story.predict()
            story.tasks()
            story.broken_push()
            story.the_others()
        figures.ok = True
        tell.say(f"documents: {access.url}/docs   data: {access.data_dir}")
        tell.say(f"API key:   {access.api_key}" if not down else "stops")
    except CommandFailed as failed:
        failure = failed
    finally:
        figures.total_s = round(tell.seconds(), 2)
        if down:
            stack.down(keep_algorithms=False, progress=tell.say)
    if as_json:
        typer.echo(json.dumps(asdict(figures) | ({"error": str(failure)} if failure else {}), ensure_ascii=False))
    elif figures.ok:
        typer.secho(f"\nall seven steps in {figures.total_s:.1f} s", bold=True)
    if failure:
        raise failure
