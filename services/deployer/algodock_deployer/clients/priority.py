"""What builds yield to: calls of algorithms that serve on the same cores."""

from __future__ import annotations

import contextlib
import os
from pathlib import Path
from typing import Final

__all__ = ["BUILD_NICE", "yield_to_others"]

BUILD_NICE: Final = 10


def yield_to_others(leader: int, nice: int = BUILD_NICE) -> None:
    """Lower the priority of a process that leads a session and a group of its own, and of all that it starts.

    Where the kernel groups sessions for its scheduler (``sched_autogroup_enabled``), nice values count within a session
    only, so the session's own is lowered, too: sched(7). Best effort: at a usual priority a build is still a build.

    Args:
        leader: the process's id.
        nice: 1 to 19.
    """
    with contextlib.suppress(OSError):  # it has ended already
        os.setpriority(os.PRIO_PGRP, leader, max(nice, os.getpriority(os.PRIO_PROCESS, leader)))
    with contextlib.suppress(OSError):  # a kernel without it, or a container that does not let it be written
        Path(f"/proc/{leader}/autogroup").write_text(str(nice), encoding="ascii")
