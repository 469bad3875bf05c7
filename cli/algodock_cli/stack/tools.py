"""Where the tools are that the environment brings with it."""

from __future__ import annotations

import shutil
import sys
from pathlib import Path

from algodock_cli.stack.errors import ServerMissing

__all__ = ["uv_binary"]


def uv_binary() -> str:
    """Return the uv beside this interpreter, or the machine's.

    Raises:
        ServerMissing: there is neither.
    """
    beside = Path(sys.executable).parent / "uv"
    found = str(beside) if beside.is_file() else shutil.which("uv")
    if found is None:
        raise ServerMissing("there is no uv beside this interpreter or on the PATH; ./algodock installs one")
    return found
