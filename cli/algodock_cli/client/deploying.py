"""A folder becomes a live release: the algorithm is made, the folder pushed, its release followed."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from algodock_cli.client.errors import GatewayProblem
from algodock_cli.client.gateway import Gateway
from algodock_cli.client.pushing import Push, PushFailed, Source
from algodock_cli.client.releases import Release, find_release, follow_release
from algodock_cli.failures import CommandFailed

__all__ = ["Deployed", "deploy", "name_of"]

_NOT_FOUND = 404
_HOOK_S = 70.0  # the forge's hook follows a release for a minute at most
_NO_HOOK_S = 30.0  # after a push ended well, its release comes by event, or by the forge's poller


@dataclass(frozen=True)
class Deployed:
    """A live release; ``seconds`` from the push to live (0 when nothing had to be pushed)."""

    name: str
    url: str
    commit: str
    seconds: float
    release: Release


def name_of(folder: Path) -> str:
    """Return the name that the folder's ``algodock.yaml`` gives, or the folder's own.

    Raises:
        CommandFailed: the manifest is not YAML.
    """
    manifest: Any = None
    file = folder / "algodock.yaml"
    if file.is_file():
        try:
            manifest = yaml.safe_load(file.read_text("utf-8"))
        except (yaml.YAMLError, UnicodeDecodeError) as error:
            raise CommandFailed(f"{file} is not YAML\n  why:  {error}") from error
    named = manifest.get("name") if isinstance(manifest, dict) else None
    return str(named or folder.resolve().name.lower().replace("_", "-"))


def deploy(
    gateway: Gateway,
    folder: Path,
    *,
    name: str,
    message: str = "",
    force: bool = False,
    canary: int = 0,
    timeout_s: float,
    say: Callable[[str], None],
) -> Deployed:
    """Deploy ``folder`` as ``name`` and wait until it is live, or gets ``canary`` per cent of the calls.

    Raises:
        PushFailed: git or the forge refused.
        ReleaseFailed: the release failed; the one before still serves.
        NotInTime: it was not live within ``timeout_s``.
    """
    made = gateway.post("/api/v1/algorithms", {"name": name}, repeat=True)
    with Source.of(folder, made["clone_url"], gateway.access, message=message) as source:
        if source.uncommitted:
            say("what is not committed is not deployed")
        live = _already_live(gateway, name) if source.unchanged and not force else None
        if live:
            say(f"{name} is unchanged and runs commit {live['commit'][:10]}")
            return Deployed(name, f"{gateway.access.url}/ai/{name}", live["commit"], 0.0, live)
        if canary:
            _ask_canary(gateway, name, source.commit, canary, say)
        say(f"pushes {source.commit[:10]} to {made['clone_url']}")
        began = time.monotonic()
        push = source.push(force=force)
        release = follow_release(
            gateway,
            name,
            commit=source.commit,
            timeout_s=timeout_s,
            say=say,
            still_coming=_Patience(push).check,
        )
        seconds = time.monotonic() - began
        say(f"{release['state']} after {seconds:.2f} s")
        push.finish(_HOOK_S)
    return Deployed(name, f"{gateway.access.url}/ai/{name}", source.commit, seconds, release)


def _ask_canary(gateway: Gateway, name: str, commit: str, percent: int, say: Callable[[str], None]) -> None:
    """Say before the push what its release shall be; the first release of a service has nothing to run beside."""
    body = {"commit": commit, "percent": percent}
    try:
        gateway.request("PUT", f"/api/v1/services/canary/{name}", json=body, repeat=True)
    except GatewayProblem as problem:
        if problem.status != _NOT_FOUND:
            raise
        say("nothing of it serves yet: it becomes live at once")


def _already_live(gateway: Gateway, name: str) -> Release | None:
    """Return the release that runs, if the newest one is that."""
    try:
        status = gateway.get(f"/api/v1/services/status/{name}")["status"]
    except GatewayProblem as problem:
        if problem.status == _NOT_FOUND:
            return None
        raise
    newest = find_release(gateway, name)
    return newest if status == "running" and newest and newest["state"] == "live" else None


class _Patience:
    """How long a release may fail to appear: while git pushes, and some seconds after."""

    def __init__(self, push: Push) -> None:
        self._push = push
        self._ended: float | None = None

    def check(self) -> None:
        """Raise when no release can be expected any more."""
        if self._push.running():
            return
        self._push.check()
        self._ended = self._ended or time.monotonic()
        if time.monotonic() - self._ended > _NO_HOOK_S:
            raise PushFailed(f"the push made no release\n  why:  {self._push.said() or 'the forge said nothing'}")
