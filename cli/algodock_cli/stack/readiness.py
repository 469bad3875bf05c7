"""Asks services over HTTP whether they are ready, with the standard library alone: ``up`` starts fast."""

from __future__ import annotations

import http.client
import json
from dataclasses import dataclass, field
from typing import Any

__all__ = ["Readiness", "ask"]

_TIMEOUT_S = 2.0


@dataclass(frozen=True)
class Readiness:
    """What ``GET /ready`` answered; ``said`` is the reason where it is not ready."""

    ready: bool
    said: str = ""
    details: dict[str, Any] = field(default_factory=dict)


def ask(port: int, path: str = "/ready") -> Readiness:
    """Ask the service on the loopback port; one that does not answer is not ready."""
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=_TIMEOUT_S)
    try:
        connection.request("GET", path)
        response = connection.getresponse()
        body = response.read()
    except (OSError, http.client.HTTPException) as error:
        return Readiness(ready=False, said=f"no answer ({type(error).__name__})")
    finally:
        connection.close()
    try:
        details = json.loads(body)
    except ValueError:
        details = {}
    if not isinstance(details, dict):
        details = {}
    ready = response.status == http.HTTPStatus.OK
    return Readiness(ready=ready, said="" if ready else _reason(response.status, details), details=details)


def _reason(status: int, details: dict[str, Any]) -> str:
    checks = details.get("checks", {})
    waiting = [f"{name}: {state}" for name, state in checks.items() if state not in ("ok", True)]
    return f"answers {status}" + (f" ({', '.join(waiting)})" if waiting else "")
