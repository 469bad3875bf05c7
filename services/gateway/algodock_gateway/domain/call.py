"""A call as it is kept: a row of ``algorithm_calls``."""

from __future__ import annotations

from typing import NamedTuple
from uuid import UUID

__all__ = ["CallRecord"]


class CallRecord(NamedTuple):
    """One call, in the order of its table's columns after the id."""

    started_at: float
    """Unix seconds."""
    duration_us: int
    algorithm: str
    algorithm_id: UUID | None
    release_id: UUID | None
    instance_id: UUID | None
    key_id: UUID | None
    method: str
    path: str
    status: int
    error: str | None
    bytes_in: int
    bytes_out: int
    trace_id: str | None
