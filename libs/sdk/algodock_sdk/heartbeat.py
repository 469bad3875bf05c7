"""Tells the registry every few seconds that this instance lives, from a thread of its own (standard library only)."""

from __future__ import annotations

import json
import logging
import os
import threading
import time
import urllib.error
import urllib.request
from collections.abc import Callable
from dataclasses import dataclass, field
from http import HTTPStatus

__all__ = ["Heartbeat", "Load"]

_log = logging.getLogger("algodock_sdk.heartbeat")
_TIMEOUT_S = 5.0


@dataclass
class Load:
    """Counts of calls, for the heartbeat's ``metrics``; changed from any thread."""

    in_flight: int = 0
    calls: int = 0
    failures: int = 0
    started: float = field(default_factory=time.monotonic)
    _lock: threading.Lock = field(default_factory=threading.Lock, repr=False)

    def begin(self) -> None:
        """Count a call that starts."""
        with self._lock:
            self.in_flight += 1
            self.calls += 1

    def end(self, failure: BaseException | None) -> None:
        """Count a call's end."""
        with self._lock:
            self.in_flight -= 1
            self.failures += failure is not None

    def metrics(self) -> dict[str, float]:
        """Return the counts, and the seconds since the start."""
        with self._lock:
            return {
                "in_flight": self.in_flight,
                "calls": self.calls,
                "failures": self.failures,
                "uptime_s": round(time.monotonic() - self.started, 1),
            }


class Heartbeat:
    """One beat at once, then one every ``interval_s``; a failed beat is logged once and tried again.

    ``refused`` is called, in the heartbeat's thread, when the registry does not know this instance
    (any more), and returns the token to go on with, or None.
    """

    def __init__(
        self,
        url: str,
        token: str,
        *,
        load: Load | None = None,
        interval_s: float = 5.0,
        refused: Callable[[], str | None] | None = None,
    ) -> None:
        """Beat to ``url`` with ``token`` as bearer."""
        self._url = url
        self._token = token
        self._load = load
        self._interval_s = interval_s
        self._refused = refused
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, name="algodock-heartbeat", daemon=True)
        self._failing = False

    @classmethod
    def from_environment(cls, load: Load | None = None) -> Heartbeat | None:
        """Return the heartbeat that ``ALGODOCK_HEARTBEAT_URL`` and ``ALGODOCK_TOKEN`` ask for, or None."""
        url, token = os.environ.get("ALGODOCK_HEARTBEAT_URL"), os.environ.get("ALGODOCK_TOKEN")
        if not url or not token:
            return None
        return cls(url, token, load=load, interval_s=float(os.environ.get("ALGODOCK_HEARTBEAT_INTERVAL") or 5))

    def start(self) -> None:
        """Begin to beat."""
        self._thread.start()

    def stop(self) -> None:
        """End; returns at once."""
        self._stop.set()

    def beat(self) -> bool:
        """Send one beat; return whether the registry took it."""
        body = json.dumps({"status": "ok", "metrics": self._load.metrics() if self._load else {}}).encode()
        request = urllib.request.Request(  # noqa: S310  (the platform's own address, out of the environment)
            self._url,
            data=body,
            headers={"authorization": f"Bearer {self._token}", "content-type": "application/json"},
        )
        try:
            with urllib.request.urlopen(request, timeout=_TIMEOUT_S):  # noqa: S310
                pass
        except urllib.error.HTTPError as error:
            with error:
                self._failed(f"the registry answered {error.code}")
            if error.code in {HTTPStatus.UNAUTHORIZED, HTTPStatus.NOT_FOUND, HTTPStatus.GONE} and self._refused:
                self._token = self._refused() or self._token
            return False
        except OSError as error:
            self._failed(str(error))
            return False
        if self._failing:
            _log.info("heartbeats are taken again")
            self._failing = False
        return True

    def _failed(self, why: str) -> None:
        """Say it once, not every few seconds."""
        if not self._failing:
            _log.warning("heartbeat to %s not taken: %s; trying on", self._url, why)
        self._failing = True

    def _run(self) -> None:
        while True:
            self.beat()
            if self._stop.wait(self._interval_s):
                return
