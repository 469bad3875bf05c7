"""What the other services answer, checked for its shape."""

from __future__ import annotations

from typing import Any

from algodock_common.errors import UpstreamFailed

__all__ = ["list_in", "object_in"]


def object_in(answer: object, peer: str) -> dict[str, Any]:
    """Return the JSON object that ``peer`` answered.

    Raises:
        UpstreamFailed: it is none.
    """
    if not isinstance(answer, dict):
        msg = f"{peer} answered with another shape than expected."
        raise UpstreamFailed(msg)
    return answer


def list_in(answer: object, member: str, peer: str) -> list[dict[str, Any]]:
    """Return the list that ``peer`` answered as ``member``.

    Raises:
        UpstreamFailed: there is none.
    """
    found = object_in(answer, peer).get(member)
    if not isinstance(found, list):
        msg = f"{peer} answered without {member!r}."
        raise UpstreamFailed(msg)
    return found
