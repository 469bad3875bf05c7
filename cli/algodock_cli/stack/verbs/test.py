"""``algodock test``: the project's tests, on the embedded servers or on real ones."""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
import zlib
from pathlib import Path
from typing import Annotated

import typer

__all__ = ["SIDE_BY_SIDE", "command"]

SIDE_BY_SIDE = ("--dist", "loadscope", "--no-loadscope-reorder")
"""How pytest shares tests among processes: as ``tests/conftest.py`` says, in its order."""

_MOST_PROCESSES = 4
"""Of tests side by side: each may start a platform of ten processes and 700 MB."""
_ONE_AFTER_THE_OTHER = ("-n", "--numprocesses", "-d", "--dist", "--pdb", "--trace", "-s", "--capture=no")
"""Who says one of these knows how the tests are to run."""


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
    faults: Annotated[
        bool, typer.Option("--faults", help="The fault tests in their long form; each prints its figures.")
    ] = False,
) -> None:
    """Run the test suite; the exit code is pytest's.

    With --real and no path, the tests that need servers, a browser or a Docker Engine. Without a path, the files of
    tests run side by side, one process a core.
    """
    from algodock_cli.stack.data_folder import project_folder

    project = project_folder()
    given = [_seen_from(project, word) for word in arguments or []]
    if faults:
        os.environ["ALGODOCK_FAULTS"] = "long"
        given = given if any(_names_tests(project, word) for word in given) else ["tests/faults", *given]
    raise typer.Exit(_on_real_servers(project, given) if real else _on_embedded_servers(project, given))


def _on_embedded_servers(project: Path, given: list[str]) -> int:
    return _pytest(project, given, _processes(project, given), {})


def _on_real_servers(project: Path, given: list[str]) -> int:
    from algodock_cli.real.servers import named_servers
    from algodock_cli.real.suites import ON_REAL_SERVERS, prepared
    from algodock_cli.stack.verbs.progress import steps

    suites = [[*_with_tests(project, suite), *given] for suite in ON_REAL_SERVERS if _with_tests(project, suite)]
    processes = _processes(project, given)
    if any(_names_tests(project, word) for word in given):
        suites = [given]
    elif named_servers(os.environ):  # one set for all
        suites = [[path for suite in ON_REAL_SERVERS for path in _with_tests(project, suite)] + given]
        processes = 1
    codes = []
    for suite in suites:
        with prepared(suite, processes, steps()) as environment:
            codes.append(_pytest(project, suite, processes, environment))
    return next((code for code in codes if code != 0), 0)


def _processes(project: Path, given: list[str]) -> int:
    """Return how many processes share the tests: one where the caller names what to run, or how."""
    if any(_names_tests(project, word) or word.startswith(_ONE_AFTER_THE_OTHER) for word in given):
        return 1
    return min(len(os.sched_getaffinity(0)), _MOST_PROCESSES)


def _pytest(project: Path, arguments: list[str], processes: int, environment: dict[str, str]) -> int:
    configuration = ["-c", str(project / "pyproject.toml"), "--rootdir", str(project)]
    if processes > 1:
        configuration += ["-n", str(processes), *SIDE_BY_SIDE]
    command = [sys.executable, "-P", "-m", "pytest", *configuration, *arguments]
    own = {"PYTEST_DEBUG_TEMPROOT": _temporary(project)}
    return subprocess.run(command, cwd=project, env=own | os.environ | environment, check=False).returncode


def _temporary(project: Path) -> str:
    """Return where pytest keeps its temporary folders: one of this checkout's own.

    In the one that all of a user's runs share by default each run that begins closes what others opened to the users
    that algorithms run as.
    """
    folder = Path(tempfile.gettempdir()) / f"algodock-{zlib.crc32(os.fsencode(project)):08x}"
    folder.mkdir(exist_ok=True)
    return str(folder)


def _with_tests(project: Path, folders: tuple[str, ...]) -> list[str]:
    return [folder for folder in folders if any((project / folder).glob("**/test_*.py"))]


def _names_tests(project: Path, word: str) -> bool:
    path = project / word.split("::", maxsplit=1)[0]
    return path.exists() and not word.startswith("-")


def _seen_from(project: Path, word: str) -> str:
    """Return a path of the caller's as one that means the same in the project's folder, where pytest runs."""
    here = Path.cwd()
    path = here / word.split("::", maxsplit=1)[0]
    return str(here / word) if here != project and path.exists() and not word.startswith("-") else word
