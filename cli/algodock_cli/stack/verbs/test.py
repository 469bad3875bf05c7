"""``algodock test``: the project's tests, on the embedded servers or on real ones."""

from __future__ import annotations

import os
import subprocess
import sys
from typing import Annotated

import typer

__all__ = ["command"]

_ON_REAL_SERVERS = ("tests/integration", "tests/e2e", "tests/faults")


def command(
    arguments: Annotated[
        list[str] | None, typer.Argument(help="What pytest takes: paths, also others', -k, -x, …")
    ] = None,
    *,
    real: Annotated[
        bool,
        typer.Option(
            "--real",
            help="On real servers: the environment's, or all four started here; a missing one is a failure.",
        ),
    ] = False,
) -> None:
    """Run the test suite; the exit code is pytest's.

    With --real and no path, the tests that need servers.
    """
    from algodock_cli.stack.data_folder import project_folder

    given = list(arguments or [])
    project = project_folder()
    pytest = [sys.executable, "-m", "pytest", "-c", str(project / "pyproject.toml"), "--rootdir", str(project)]
    if not real:
        raise typer.Exit(subprocess.run([*pytest, *given], cwd=project, check=False).returncode)

    from algodock_cli.real.servers import real_servers
    from algodock_cli.stack.verbs.progress import steps

    if not any((project / word.split("::", maxsplit=1)[0]).exists() for word in given):
        given += [path for path in _ON_REAL_SERVERS if any((project / path).glob("**/test_*.py"))]
    with real_servers(os.environ, progress=steps()) as environment:
        ended = subprocess.run([*pytest, *given], cwd=project, env=os.environ | environment, check=False)
    raise typer.Exit(ended.returncode)
