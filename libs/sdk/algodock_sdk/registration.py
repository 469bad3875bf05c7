"""For services that run elsewhere: three lines make them part of the platform (standard library only)."""

from __future__ import annotations

import json
import logging
import os
import urllib.error
import urllib.request
from dataclasses import dataclass, field
from typing import Any

from algodock_sdk.heartbeat import Heartbeat, Load

__all__ = ["Registration", "RegistrationError", "register"]

_log = logging.getLogger("algodock_sdk.registration")
_TIMEOUT_S = 10.0


class RegistrationError(Exception):
    """The platform refused the service, or could not be reached; says which."""


@dataclass
class Registration:
    """A registered service; ``stop`` ends its heartbeat."""

    name: str
    url: str
    instance_id: str
    heartbeat: Heartbeat | None = field(default=None, repr=False)

    def stop(self) -> None:
        """End the heartbeat; the registry notices by itself."""
        if self.heartbeat is not None:
            self.heartbeat.stop()


def register(
    name: str,
    url: str,
    *,
    platform: str | None = None,
    key: str | None = None,
    load: Load | None = None,
    interval_s: float = 5.0,
) -> Registration:
    """Register the service that listens at ``url`` under ``name``, and keep it alive by heartbeat.

    ``platform`` and ``key`` default to ``ALGODOCK_URL`` and ``ALGODOCK_API_KEY``. Where the platform
    hands out no token for heartbeats, it probes the service's ``/health`` itself.

    Raises:
        RegistrationError: no platform or key was given, or the platform said no.
    """
    platform = (platform or os.environ.get("ALGODOCK_URL", "")).rstrip("/")
    key = key or os.environ.get("ALGODOCK_API_KEY", "")
    if not platform or not key:
        msg = "no platform: give platform= and key=, or set ALGODOCK_URL and ALGODOCK_API_KEY"
        raise RegistrationError(msg)
    made = _post(f"{platform}/api/v1/registry/services", key, {"name": name, "url": url})
    registration = Registration(name, url, str(made.get("instance_id", "")))
    token = made.get("token")
    if token:

        def again() -> str | None:
            """Register anew: the platform has forgotten this instance (it was reset)."""
            try:
                made = _post(f"{platform}/api/v1/registry/services", key, {"name": name, "url": url})
            except RegistrationError as error:
                _log.warning("%s", error)
                return None
            registration.instance_id = str(made.get("instance_id", ""))
            return str(made["token"]) if made.get("token") else None

        registration.heartbeat = Heartbeat(
            f"{platform}/api/v1/registry/heartbeat", str(token), load=load, interval_s=interval_s, refused=again
        )
        registration.heartbeat.start()
    return registration


def _post(url: str, key: str, body: dict[str, str]) -> dict[str, Any]:
    request = urllib.request.Request(  # noqa: S310  (the caller's own platform)
        url,
        data=json.dumps(body).encode(),
        headers={"authorization": f"Bearer {key}", "content-type": "application/json"},
    )
    try:
        with urllib.request.urlopen(request, timeout=_TIMEOUT_S) as response:  # noqa: S310
            answer = json.loads(response.read() or b"{}")
    except urllib.error.HTTPError as error:
        with error:
            msg = f"{url} answered {error.code}: {_detail(error.read())}"
        raise RegistrationError(msg) from error
    except (OSError, ValueError) as error:
        msg = f"{url} could not be asked: {error}"
        raise RegistrationError(msg) from error
    return answer if isinstance(answer, dict) else {}


def _detail(body: bytes) -> str:
    try:
        return str(json.loads(body)["detail"])
    except (ValueError, KeyError, TypeError):
        return body[:200].decode(errors="replace")
