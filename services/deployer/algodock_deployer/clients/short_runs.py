"""Tools that say something and end: run, bounded in time, and never left behind."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path

__all__ = ["run_briefly"]


async def run_briefly(
    argv: Sequence[str], *, environment: Mapping[str, str], timeout_s: float, folder: Path | None = None
) -> tuple[int, str]:
    """Run a tool to its end; return its exit code and all that it wrote.

    It is killed when it takes longer, and when the caller is cancelled.

    Raises:
        OSError: it cannot be started.
        TimeoutError: it did not end within ``timeout_s`` seconds.
    """
    process = await asyncio.create_subprocess_exec(
        *argv, cwd=folder, env=environment,
        stdin=asyncio.subprocess.DEVNULL, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.STDOUT,
    )  # fmt: skip
    try:
        async with asyncio.timeout(timeout_s):
            output, _ = await process.communicate()
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()
    return process.returncode or 0, output.decode(errors="replace")
