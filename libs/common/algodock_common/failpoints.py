"""Named places where a test ends a process as a crash would; in every other run they are nothing.

``ALGODOCK_FAILPOINTS`` names a folder. Who reaches a place whose name is a file there takes the
file away and is killed on the spot: once for each file, whichever process comes first. A file that
holds a process id has that process killed instead, at the moment when somebody reaches the place.
"""

from __future__ import annotations

import os
import signal
from pathlib import Path

__all__ = ["reach"]

_FOLDER = os.environ.get("ALGODOCK_FAILPOINTS")


def reach(name: str) -> None:
    """End this process with SIGKILL when the place ``name`` is armed, or the process that the file names.

    Raises:
        ValueError: the file holds something else than a process id.
        ProcessLookupError: there is no such process.
    """
    if _FOLDER is None:
        return
    place = Path(_FOLDER) / name
    try:
        victim = place.read_text()
        place.unlink()
    except FileNotFoundError:
        return
    os.kill(int(victim) if victim else os.getpid(), signal.SIGKILL)
