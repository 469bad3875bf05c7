"""``algodock start``, ``stop``, ``restart`` and ``remove``: a command, then the wait until it shows."""

from __future__ import annotations

import sys
import time
from typing import Annotated, Any

import typer

from algodock_cli.client.errors import GatewayProblem, NotInTime
from algodock_cli.client.gateway import Gateway
from algodock_cli.client.options import AsJson, Key, Name, Url, gateway, print_json
from algodock_cli.failures import CommandFailed

__all__ = ["remove", "restart", "start", "stop"]

Wait = Annotated[bool, typer.Option("--wait/--no-wait", help="Wait until it shows.")]
Timeout = Annotated[float, typer.Option(min=1, help="Seconds to wait.")]

_LOOK_S = 0.2
_NOT_FOUND = 404


def start(
    name: Name, *, wait: Wait = True, timeout: Timeout = 60, url: Url = None, key: Key = None, as_json: AsJson = False
) -> None:
    """Start a stopped service with the release that it had."""
    _carry_out("start", name, "running", wait=wait, timeout=timeout, url=url, key=key, as_json=as_json)


def stop(
    name: Name, *, wait: Wait = True, timeout: Timeout = 60, url: Url = None, key: Key = None, as_json: AsJson = False
) -> None:
    """Stop a service: calls in flight end, new ones get 503."""
    _carry_out("stop", name, "stopped", wait=wait, timeout=timeout, url=url, key=key, as_json=as_json)


def restart(
    name: Name, *, wait: Wait = True, timeout: Timeout = 60, url: Url = None, key: Key = None, as_json: AsJson = False
) -> None:
    """Start a service's release anew beside the running one, and switch."""
    _carry_out("restart", name, "running", wait=wait, timeout=timeout, url=url, key=key, as_json=as_json)


def remove(
    name: Name,
    *,
    yes: Annotated[bool, typer.Option("--yes", "-y", help="Do not ask.")] = False,
    wait: Wait = True,
    timeout: Timeout = 60,
    url: Url = None,
    key: Key = None,
    as_json: AsJson = False,
) -> None:
    """Remove a service; its releases and data go after a grace."""
    if not yes:
        if not sys.stdin.isatty():
            typer.echo("algodock: remove takes a service away; say --yes", err=True)
            raise typer.Exit(2)
        typer.confirm(f"Remove {name}?", abort=True)
    with gateway(url, key) as platform:
        platform.request("DELETE", f"/api/v1/services/{name}", repeat=True)
        status = _wait(platform, name, "removed", timeout) if wait else "removing"
    _tell(name, status, as_json=as_json)


def _carry_out(
    action: str, name: str, wanted: str, *, wait: bool, timeout: float, url: str | None, key: str | None, as_json: bool
) -> None:
    with gateway(url, key) as platform:
        answer = platform.post(f"/api/v1/services/{action}/{name}")
        if not answer.get("success", True):
            raise CommandFailed(f"{action} {name} was refused\n  why:  {answer.get('error') or answer.get('message')}")
        status = _wait(platform, name, wanted, timeout) if wait else str(answer.get("status") or wanted)
    _tell(name, status, as_json=as_json)


def _wait(platform: Gateway, name: str, wanted: str, timeout: float) -> str:
    """Return the state that was waited for; a service that is gone is ``removed``."""
    end = time.monotonic() + timeout
    while True:
        try:
            seen: dict[str, Any] = platform.get(f"/api/v1/services/status/{name}")
        except GatewayProblem as problem:
            if problem.status != _NOT_FOUND:
                raise
            seen = {"status": "removed"}
        if seen["status"] == wanted:
            return wanted
        if wanted == "running" and seen["status"] == "failed":
            raise CommandFailed(f"{name} failed\n  why:  {seen.get('message')}\n  next: `algodock logs {name}`")
        if time.monotonic() > end:
            raise NotInTime(
                f"{name} is {seen['status']}, not {wanted}, after {timeout:.0f} s\n"
                f"  why:  {seen.get('message') or 'it did not say'}\n  next: `algodock logs {name}`"
            )
        time.sleep(_LOOK_S)


def _tell(name: str, status: str, *, as_json: bool) -> None:
    if as_json:
        print_json({"name": name, "status": status})
    else:
        typer.echo(f"{name} {status}")
