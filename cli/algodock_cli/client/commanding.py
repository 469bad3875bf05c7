"""A command to a service, and the wait until it shows: the gateway answers as soon as the command is a row."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any, Literal

from algodock_cli.client.errors import NotInTime
from algodock_cli.client.gateway import Gateway
from algodock_cli.failures import CommandFailed

__all__ = ["Action", "command"]

Action = Literal["start", "stop", "restart", "remove", "rollback", "scale", "promote"]
Service = dict[str, Any]

_LOOK_S = 0.2
_REMOVED: Service = {"status": "removed"}


def command(
    platform: Gateway, action: Action, name: str, body: dict[str, Any] | None = None, *, timeout_s: float | None
) -> dict[str, Any]:
    """Give the command and return the service as it is when the command shows; without ``timeout_s``, the answer.

    Raises:
        CommandFailed: the platform could not do it; the message has its reason.
        NotInTime: it does not show within ``timeout_s``.
    """
    before = _service(platform, name)
    if action == "remove":
        answer = platform.request("DELETE", f"/api/v1/services/{name}", repeat=True).json()
    else:
        answer = platform.post(f"/api/v1/services/{action}/{name}", body)
    if not answer.get("success", True):
        raise CommandFailed(f"{action} {name} was refused\n  why:  {answer.get('error') or answer.get('message')}")
    if timeout_s is None:
        return {"status": "removing", **answer} if action == "remove" else dict(answer)
    end = time.monotonic() + timeout_s
    while True:
        now = _service(platform, name)
        if _shows(action, body)(before, now):
            return now
        said = str(now.get("message") or "")
        failed = now["status"] == "failed" and action != "stop"
        if failed or (said.startswith(f"{action}: ") and said != before.get("message")):
            raise CommandFailed(f"{action} {name} failed\n  why:  {said}\n  next: `algodock logs {name}`")
        if time.monotonic() > end:
            raise NotInTime(
                f"{action} {name} does not show after {timeout_s:.0f} s: it is {now['status']}\n"
                f"  why:  {said or 'it did not say'}\n  next: `algodock logs {name}`"
            )
        time.sleep(_LOOK_S)


def _service(platform: Gateway, name: str) -> Service:
    services: list[Service] = platform.get("/api/v1/services")["services"]
    return next((service for service in services if name in {service["name"], service["id"]}), _REMOVED)


def _is(status: str) -> Callable[[Service, Service], bool]:
    return lambda _, now: now["status"] == status


def _all_are_new(before: Service, now: Service) -> bool:
    """Tell whether the last of several instances that change one by one has changed."""
    found = _instances(now)
    return now["status"] == "running" and bool(found) and found.isdisjoint(_instances(before))


def _went_back(before: Service, now: Service) -> bool:
    """Tell whether an earlier release serves, or only the canary has gone."""
    without = bool(_instances(now)) and _instances(now) < _instances(before)
    return _all_are_new(before, now) or (now["status"] == "running" and without)


def _instances(service: Service) -> set[str]:
    return {instance["instance_id"] for instance in service.get("instances") or []}


def _shows(action: Action, body: dict[str, Any] | None) -> Callable[[Service, Service], bool]:
    """Return what tells from the service before and now that the command is done."""
    if action == "scale":
        given = body or {}
        rule, wanted = given.get("rule"), given.get("instances")
        if rule is not None:
            return lambda _, now: now.get("scale_rule") == rule
        return lambda _, now: now["status"] == "stopped" or len(_instances(now)) == wanted
    return _SHOWS[action]


_SHOWS: dict[Action, Callable[[Service, Service], bool]] = {
    "start": _is("running"),
    "stop": _is("stopped"),
    "restart": _all_are_new,
    "rollback": _went_back,
    "remove": _is("removed"),
    "promote": lambda before, now: now.get("release_id") not in {None, before.get("release_id")},
}
