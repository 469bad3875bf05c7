"""``algodock test``: the project's tests, on the embedded servers or on real ones."""

from __future__ import annotations

import os
import subprocess
import sys
from contextlib import ExitStack
from pathlib import Path
from typing import Annotated

import typer

__all__ = ["command"]

_BROWSER = "tests/browser"
_DOCKER = "tests/docker"
_ON_REAL_SERVERS = (("tests/integration",), ("tests/e2e", "tests/faults", _BROWSER, _DOCKER))
"""What runs against real servers by default, each on servers that begin empty: what one leaves would wake the next.

The browser and the Docker Engine are Debian's, as those servers are, so what needs them belongs here; without --real it
runs when named.
"""


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

    With --real and no path, the tests that need servers, a browser or a Docker Engine.
    """
    from algodock_cli.stack.data_folder import project_folder

    project = project_folder()
    given = [_seen_from(project, word) for word in arguments or []]
    if faults:
        os.environ["ALGODOCK_FAULTS"] = "long"
        given = given if any(_names_tests(project, word) for word in given) else ["tests/faults", *given]
    raise typer.Exit(_on_real_servers(project, given) if real else _pytest(project, given, {}))


def _on_real_servers(project: Path, given: list[str]) -> int:
    from algodock_cli.real.docker import docker_engine
    from algodock_cli.real.installs import machine_program
    from algodock_cli.real.servers import named_servers, real_servers
    from algodock_cli.stack.lifecycle import Stack
    from algodock_cli.stack.verbs.progress import steps

    suites = [[*_with_tests(project, suite), *given] for suite in _ON_REAL_SERVERS if _with_tests(project, suite)]
    if any(_names_tests(project, word) for word in given):
        suites = [given]
    elif named_servers(os.environ):
        suites = [[path for suite in _ON_REAL_SERVERS for path in _with_tests(project, suite)] + given]
    # A platform that tests start on these servers must not meet what an earlier one kept on disk.
    folder = os.environ.get("ALGODOCK_DATA_DIR") or str(project / ".algodock" / "real" / "platform")
    codes = []
    for suite in suites:
        with ExitStack() as started:
            named = dict(started.enter_context(real_servers(os.environ, progress=steps())))
            if any(word.startswith(_DOCKER) for word in suite):
                named |= started.enter_context(docker_engine(os.environ, progress=steps()))
            environment = {"ALGODOCK_DATA_DIR": folder, **named}
            if any(word.startswith(_BROWSER) for word in suite) and "CHROMIUM" not in os.environ:
                environment["CHROMIUM"] = str(machine_program("chromium", "chromium", steps()))
            if "ALGODOCK_DATA_DIR" not in os.environ:
                Stack(os.environ | environment).reset(progress=steps())
            codes.append(_pytest(project, suite, environment))
    return next((code for code in codes if code != 0), 0)


def _pytest(project: Path, arguments: list[str], environment: dict[str, str]) -> int:
    configuration = ["-c", str(project / "pyproject.toml"), "--rootdir", str(project)]
    command = [sys.executable, "-P", "-m", "pytest", *configuration, *arguments]
    return subprocess.run(command, cwd=project, env=os.environ | environment, check=False).returncode


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
