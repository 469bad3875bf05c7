"""``algodock lock``: for developers, after a change of a pyproject."""

from __future__ import annotations

import subprocess
from typing import Annotated

import typer

__all__ = ["command"]

_HEAD = """\
# Every package that the platform and its tests use, with its version and hashes, for Python 3.11 and 3.12.
# Written by `./algodock lock` from the pyproject.toml files; it names no place to fetch them from.
"""
_EXPORT = ("--frozen", "--all-packages", "--all-groups", "--no-emit-workspace", "--no-annotate", "--no-header")


def command(
    *,
    upgrade: Annotated[
        bool, typer.Option("--upgrade", help="Take the newest versions that the pyprojects allow.")
    ] = False,
) -> None:
    """Write requirements.lock from the pyproject.toml files."""
    from algodock_cli.failures import CommandFailed
    from algodock_cli.stack.data_folder import project_folder
    from algodock_cli.stack.tools import uv_binary

    def uv(*arguments: str) -> str:
        done = subprocess.run(
            [uv_binary(), *arguments], cwd=project_folder(), text=True, capture_output=True, check=False
        )
        if done.returncode != 0:
            raise CommandFailed(f"uv {arguments[0]} failed:\n{done.stderr.strip()}")
        return done.stdout

    uv("lock", *(["--upgrade"] if upgrade else []))
    pins = uv("export", *_EXPORT)
    (project_folder() / "requirements.lock").write_text(_HEAD + pins, encoding="utf-8")
    typer.echo(f"requirements.lock: {pins.count('==')} packages")
