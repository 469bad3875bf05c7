"""``algodock bench``: the figures of the README, each measured by a program under ``bench/``."""

from __future__ import annotations

import subprocess
import sys
from typing import Annotated

import typer

__all__ = ["command"]


def command(
    name: Annotated[str, typer.Argument(help="What to measure: path, tasks, deploy.")],
    arguments: Annotated[
        list[str] | None, typer.Argument(help="What the measurement takes: --json, --check, …")
    ] = None,
) -> None:
    """Measure on this machine.

    The measurement starts a platform of its own and removes it, unless ALGODOCK_URL and
    ALGODOCK_API_KEY name one.
    """
    from algodock_cli.failures import CommandFailed
    from algodock_cli.stack.data_folder import project_folder

    folder = project_folder() / "bench"
    known = sorted(path.stem for path in folder.glob("*.py") if 'if __name__ == "__main__"' in path.read_text())
    if name not in known:
        raise CommandFailed(f"no measurement {name!r}; there is: {', '.join(known)}")
    program = [sys.executable, str(folder / f"{name}.py"), *(arguments or [])]
    raise typer.Exit(subprocess.run(program, check=False).returncode)
