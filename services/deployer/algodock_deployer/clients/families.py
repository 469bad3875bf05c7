"""A process and all that descend from it."""

from __future__ import annotations

import psutil

__all__ = ["family"]


def family(pid: int) -> list[psutil.Process]:
    """Return the process with this id and all that descend from it; none when it has ended."""
    try:
        root = psutil.Process(pid)
        return [root, *root.children(recursive=True)]
    except psutil.Error:
        return []
