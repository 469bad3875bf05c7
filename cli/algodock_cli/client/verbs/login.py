"""``algodock login``, and the credential helper that it gives to git."""

from __future__ import annotations

import os
import shlex
import subprocess
import sys
from typing import Annotated

import typer

from algodock_cli.client.options import AsJson, Key, Url, gateway, print_json
from algodock_cli.client.pushing import git_program
from algodock_cli.failures import CommandFailed

__all__ = ["command", "git_credential"]


def command(
    *,
    local: Annotated[bool, typer.Option("--local", help="For the git repository here only, not for all.")] = False,
    url: Url = None,
    key: Key = None,
    as_json: AsJson = False,
) -> None:
    """Keep the platform's key, and let `git push` use it without asking."""
    from algodock_cli.client.access import remember_login

    with gateway(url, key) as platform:
        platform.get("/api/v1/services")  # a wrong key is told now, not at the first push
        access = platform.access
    file = remember_login(access, os.environ)
    helper = f"!{shlex.join([sys.executable, '-m', 'algodock_cli', 'git-credential'])}"
    name = f"credential.{access.url}.helper"
    scope = "--local" if local else "--global"
    # The empty one first: helpers for all hosts would keep the key in places of their own.
    _git("config", scope, "--replace-all", name, "")
    _git("config", scope, "--add", name, helper)
    if as_json:
        print_json({"url": access.url, "kept_in": str(file), "git_config": name})
    else:
        typer.echo(f"logged in to {access.url}; git pushes there with the key in {file}")


def git_credential(action: Annotated[str, typer.Argument(help="get, store or erase, as git says.")]) -> None:
    """Answer git's credential protocol: the key of the platform whose URL it asks for."""
    from algodock_cli.client.access import key_for

    asked = dict(line.rstrip("\n").split("=", 1) for line in sys.stdin if "=" in line)
    if action != "get":
        return  # what git would store or erase is kept elsewhere
    key = key_for(f"{asked.get('protocol')}://{asked.get('host')}", os.environ)
    if key:
        typer.echo(f"username=algodock\npassword={key}")


def _git(*arguments: str) -> None:
    run = subprocess.run([git_program(), *arguments], capture_output=True, text=True, check=False)
    if run.returncode != 0:
        raise CommandFailed(f"git {' '.join(arguments[:2])} failed\n  why:  {run.stderr.strip()}")
