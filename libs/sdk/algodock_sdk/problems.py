"""Errors as RFC 9457 problem details, the only way in which this server says no."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

__all__ = ["InvalidInput", "Problem", "failure_of", "field_path", "trace_id_of"]

_MAX_MESSAGE = 2000  # characters; an exception may carry a whole tensor in its message


class Problem(Exception):
    """An answer that is not a result: ``status``, ``title``, ``detail`` and further members."""

    def __init__(self, status: int, title: str, detail: str, **members: Any) -> None:
        """Keep what the document will say; ``members`` are added to it as they are."""
        super().__init__(detail)
        self.status = status
        self.title = title
        self.detail = detail
        self.members = members

    def document(self, trace_id: str | None = None) -> dict[str, Any]:
        """Return the problem document, with the trace's id when the caller sent one."""
        document = {
            "type": "about:blank",
            "title": self.title,
            "status": self.status,
            "detail": self.detail,
            **self.members,
        }
        if trace_id:
            document["trace_id"] = trace_id
        return document


class InvalidInput(Problem):
    """422: the input does not fit the algorithm's parameters; ``errors`` names each field by its path."""

    def __init__(self, errors: Sequence[Mapping[str, str]]) -> None:
        """Sum the errors up in ``detail``; each has ``path``, ``message`` and ``type``."""
        detail = "; ".join(f"{error['path'] or 'body'}: {error['message']}" for error in errors[:3])
        if len(errors) > 3:  # noqa: PLR2004  (what a person reads in one line)
            detail += f"; and {len(errors) - 3} more"
        super().__init__(422, "Invalid input", detail, code="invalid-input", errors=[dict(error) for error in errors])


def failure_of(error: BaseException) -> Problem:
    """Return the 500 problem of an exception out of the algorithm's own code: its type and message, no traceback."""
    name, message = type(error).__name__, str(error)[:_MAX_MESSAGE]
    return Problem(
        500,
        "The algorithm failed",
        f"{name}: {message}" if message else name,
        code="algorithm-failed",
        error={"type": name, "message": message},
    )


def field_path(location: Sequence[str | int]) -> str:
    """Return ``input_data[0].text`` for ``("input_data", 0, "text")``."""
    path = ""
    for step in location:
        path += f"[{step}]" if isinstance(step, int) else f".{step}" if path else step
    return path


def trace_id_of(traceparent: str | None) -> str | None:
    """Return the trace id out of a W3C ``traceparent`` header."""
    parts = (traceparent or "").split("-")
    return parts[1] if len(parts) == 4 and len(parts[1]) == 32 else None  # noqa: PLR2004  (the header's layout)
