"""Named places where a test ends the process as a crash would; in every other run they are nothing.

``ALGODOCK_FAILPOINTS`` names a folder. Who reaches a place whose name is a file there takes the
file away and is killed on the spot: once for each file, whichever process comes first.
"""

from __future__ import annotations

import os
import signal
from pathlib import Path

__all__ = ["reach"]

_FOLDER = os.environ.get("ALGODOCK_FAILPOINTS")


def reach(name: str) -> None:
    """End this process with SIGKILL when the place ``name`` is armed."""
    if _FOLDER is None:
        return
    try:
        (Path(_FOLDER) / name).unlink()
    except FileNotFoundError:
        return
    os.kill(os.getpid(), signal.SIGKILL)
