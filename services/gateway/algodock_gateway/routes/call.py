"""What is known of one call under ``/ai/`` while it passes, and the record that is made of it."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Final

from algodock_gateway.domain.call import CallRecord
from algodock_gateway.routes.forward import Forwarded

if TYPE_CHECKING:
    from uuid import UUID

    from algodock_common.routing import Instance
    from algodock_gateway.domain.keys import ApiKey

__all__ = ["PREFIX", "Call"]

PREFIX: Final = b"/ai/"
_PATH_KEPT: Final = 200


class Call:
    """One call, from its first byte on; ``rest`` is the path behind the algorithm's name."""

    __slots__ = (
        "_began", "_started_at", "algorithm", "error", "instance", "key", "name", "passed", "rest", "status",
        "trace_id",
    )  # fmt: skip

    def __init__(self) -> None:
        """Begin now, with nothing known."""
        self._started_at, self._began = time.time(), time.perf_counter()
        self.name = ""
        self.rest = b"/"
        self.key: ApiKey | None = None
        self.algorithm: UUID | None = None
        self.instance: Instance | None = None
        self.passed = Forwarded()
        self.status = 0
        self.error: str | None = None
        self.trace_id: str | None = None

    def address(self, path: bytes) -> str:
        """Read ``/ai/<name>/<rest>``: keep the rest, return the name as it was written."""
        end = path.find(b"/", len(PREFIX))
        if end < 0:
            return path[len(PREFIX) :].decode("latin-1")
        self.rest = path[end:]
        return path[len(PREFIX) : end].decode("latin-1")

    def target(self, query: bytes) -> bytes:
        """Return the path and query at the instance."""
        return self.rest + b"?" + query if query else self.rest

    def record(self, method: str) -> CallRecord:
        """Return the record of the call, which ends now."""
        instance, passed = self.instance, self.passed
        return CallRecord(
            self._started_at,
            int((time.perf_counter() - self._began) * 1e6),
            self.name,
            self.algorithm,
            instance.release_id if instance is not None else None,
            instance.id if instance is not None else None,
            self.key.id if self.key is not None else None,
            method,
            self.rest[:_PATH_KEPT].decode("latin-1"),
            self.status,
            self.error,
            passed.received,
            passed.sent,
            self.trace_id,
        )
