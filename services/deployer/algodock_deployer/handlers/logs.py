"""What a service's programs wrote: the last lines, by text and by time; stdout and stderr apart or together."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING
from uuid import UUID

from algodock_deployer.clients.log_search import programs_of, search_logs
from algodock_deployer.handlers.reading import find_service

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from algodock_deployer.domain.logs import FoundLines, Stream, Wanted
    from algodock_deployer.handlers.context import Context

__all__ = ["find_lines", "log_paths", "note_log_times"]


async def find_lines(context: Context, name: str, wanted: Wanted) -> tuple[UUID, FoundLines]:
    """Return the service's id and the lines that are wanted of what its programs wrote.

    Without a search and a time these are the programs that serve (of one that does not run, those that ran last);
    with one, all that are still there, earlier releases too.

    Raises:
        ServiceNotFound: there is no such service.
    """
    view = await find_service(context, name)
    folder = context.folders.logs / "releases"
    serving = [one.program for one in view.instances]
    return view.service.id, await asyncio.to_thread(_search, folder, view.service.name, serving, wanted)


def _search(folder: Path, name: str, serving: Sequence[str], wanted: Wanted) -> FoundLines:
    present = programs_of(folder, name)
    now = [program for program in present if program in serving] or present[:1]
    return search_logs(folder, present if wanted.looks_back else now, wanted)


async def note_log_times(context: Context) -> None:
    """Note which logs have grown, so that it can be told later when their lines were written."""
    await asyncio.to_thread(context.log_times.look)


def log_paths(context: Context, name: str, stream: Stream) -> Sequence[Path]:
    """Return the stable names of a service's logs, the one written last at the end."""
    streams = ("stdout", "stderr") if stream == "all" else (stream,)
    paths = [context.folders.stable_log(name, one) for one in streams]
    return sorted(paths, key=lambda path: path.stat().st_mtime if path.exists() else 0)
