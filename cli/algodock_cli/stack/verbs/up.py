"""``algodock up``."""

from __future__ import annotations

import json
import os
from dataclasses import asdict
from typing import Annotated

import typer

from algodock_cli.stack.services import MOST_WORKERS
from algodock_cli.stack.verbs.progress import steps

__all__ = ["command"]


def command(
    *,
    workers: Annotated[
        int | None,
        typer.Option(
            min=1,
            max=MOST_WORKERS,
            help="Processes that carry out tasks; a running platform starts or stops only workers.",
        ),
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="End with one line of JSON.")] = False,
) -> None:
    """Start the platform and wait until all of it is healthy.

    A server that the environment names (DATABASE_URL, REDIS_URL, KAFKA_BOOTSTRAP, S3_ENDPOINT) is
    used as it is; the others are started here, on the loopback address, with data under .algodock/
    (ALGODOCK_DATA_DIR).
    """
    from algodock_cli.stack.lifecycle import Stack

    access = Stack(os.environ).up(workers=workers, progress=steps())
    if as_json:
        typer.echo(json.dumps(asdict(access)))
        return
    typer.echo(f"AlgoDock runs at   {access.url}   (documents: {access.url}/docs)")
    typer.echo(f"API key            {access.api_key}")
    typer.echo(f"callback secret    {access.callback_secret}")
    typer.echo(f"Kafka              {access.kafka}")
    typer.echo(f"object store       {access.s3_url}")
    typer.echo(f"data               {access.data_dir}")
