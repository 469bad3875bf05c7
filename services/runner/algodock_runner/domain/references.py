"""Results of earlier tasks as files of a later one: ``{"$file": "tasks/<id>/<attempt>"}`` in its input."""

from __future__ import annotations

import base64
import re
from typing import TYPE_CHECKING
from uuid import UUID

if TYPE_CHECKING:
    from collections.abc import Mapping

__all__ = ["MARK", "data_url", "filled", "referred", "task_of"]

MARK = b'"$file"'
"""What a body with references has in it; most have not, and are never read."""

_FILE = "$file"
_RESULT_KEY = re.compile(r"tasks/([0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12})/\d+")


def referred(value: object) -> set[str]:
    """Return every object key that files in an input name; data URLs are files already.

    Raises:
        RecursionError: it is nested too deeply.
    """
    if isinstance(value, list):
        return set().union(*map(referred, value))
    if not isinstance(value, dict):
        return set()
    named = value.get(_FILE)
    if isinstance(named, str):
        return set() if named.startswith("data:") else {named}
    return set().union(*map(referred, value.values()))


def task_of(key: str) -> UUID | None:
    """Return the task whose result has this key; None for what is no key of a result."""
    found = _RESULT_KEY.fullmatch(key)
    return UUID(found[1]) if found else None


def filled(value: object, files: Mapping[str, str]) -> object:
    """Return the input with the ``files``, data URLs by key, where their keys stood."""
    if isinstance(value, list):
        return [filled(one, files) for one in value]
    if not isinstance(value, dict):
        return value
    named = value.get(_FILE)
    if isinstance(named, str):
        return {**value, _FILE: files.get(named, named)}
    return {name: filled(one, files) for name, one in value.items()}


def data_url(content_type: str, data: bytes) -> str:
    """Return a file as the SDK reads it."""
    kind = content_type.replace(" ", "") or "application/octet-stream"
    return f"data:{kind};base64,{base64.b64encode(data).decode()}"
