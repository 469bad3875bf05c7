"""Runs ``nanio`` in several processes, none of which outlives the first: see prctl(2), ``PR_SET_PDEATHSIG``.

Its processes are uvicorn's, which spawns them and leaves them when it is killed. They would keep the port, and the
store that is started again could not have it. A spawned process runs the main module once more, as ``__mp_main__``,
before anything else: there it asks the kernel to be ended with its parent.
"""

from __future__ import annotations

import os
import signal
import sys
from multiprocessing import resource_tracker
from typing import Final

from algodock_cli.stack.launch import signal_when_parent_ends

__all__ = ["end_with_parent"]

PARENT: Final = "ALGODOCK_STORE_PID"
"""The variable by which a process knows who spawned it; multiprocessing tells it only after the main module ran."""


def end_with_parent() -> None:
    """Let the kernel kill this process when the one that spawned it ends; at once if it has ended.

    Raises:
        OSError: the kernel refused.
    """
    signal_when_parent_ends(signal.SIGKILL)
    if os.environ[PARENT] != str(os.getppid()):
        sys.exit(1)


if __name__ == "__mp_main__":
    end_with_parent()
elif __name__ == "__main__":
    from nanio.cli import main

    os.environ[PARENT] = str(os.getpid())
    code = main()
    # multiprocessing's own helper would end a moment later than this process, and be seen to be left over.
    resource_tracker._resource_tracker._stop()  # type: ignore[attr-defined]  # noqa: SLF001
    sys.exit(code)
