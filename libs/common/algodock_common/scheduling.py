"""Who waits when there are more programs than cores: calls first, what can wait after them; sched(7)."""

from __future__ import annotations

import contextlib
import os
import threading
import time
from pathlib import Path
from typing import Final

__all__ = [
    "BACKGROUND_NICE",
    "BUILD_NICE",
    "as_usual",
    "yield_to_calls",
    "yield_to_others",
    "yield_to_threads",
]

BACKGROUND_NICE: Final = 5
"""Of services that nobody's call goes through: a third of what the gateway gets, where both want a core."""
BUILD_NICE: Final = 10
AUTOGROUP_TRIES: Final = 20
AUTOGROUP_PAUSE_S: Final = 0.1
"""The kernel lets all who are not root write one session's priority in that time, and says EAGAIN to the others."""


def yield_to_calls() -> None:
    """Lower the priority of this process, which does what can wait: see ``yield_to_others``.

    Nice values pass on to algorithms that it starts. Only root can raise them again (``as_usual``), so only root's
    is lowered; a session's value does not pass on to other sessions.
    """
    if os.geteuid() == 0:
        os.setpriority(os.PRIO_PROCESS, 0, max(BACKGROUND_NICE, os.getpriority(os.PRIO_PROCESS, 0)))
    if os.getsid(0) != os.getpid():
        return
    for _ in range(AUTOGROUP_TRIES):
        if _nice_session(os.getpid(), BACKGROUND_NICE):
            return
        time.sleep(AUTOGROUP_PAUSE_S)


def yield_to_others(leader: int, nice: int = BUILD_NICE) -> None:
    """Lower the priority of a process that leads a session and a group of its own, and of all that it starts.

    Where the kernel groups sessions for its scheduler, nice values count within a session only, so the session's own
    is lowered, too. Best effort: at a usual priority a build is still a build.

    Args:
        leader: the process's id.
        nice: 1 to 19.
    """
    with contextlib.suppress(OSError):  # it has ended already
        os.setpriority(os.PRIO_PGRP, leader, max(nice, os.getpriority(os.PRIO_PROCESS, leader)))
    _nice_session(leader, nice)


def yield_to_threads() -> None:
    """Let the other threads of this process go before this one, which does what can wait."""
    own = threading.get_native_id()
    with contextlib.suppress(OSError):  # a kernel whose threads have no priority of their own
        os.setpriority(os.PRIO_PROCESS, own, max(BUILD_NICE, os.getpriority(os.PRIO_PROCESS, own)))


def as_usual(leader: int) -> None:
    """Take back what a program that leads a group inherited from a process that yields to calls.

    Args:
        leader: the process's id.
    """
    with contextlib.suppress(OSError):  # it has ended already, or nothing was lowered because this is not root
        os.setpriority(os.PRIO_PGRP, leader, 0)


def _nice_session(leader: int, nice: int) -> bool:
    """Lower a session's priority; say whether that is done, or cannot be: it is no use to try again."""
    try:
        Path(f"/proc/{leader}/autogroup").write_text(str(nice), encoding="ascii")
    except BlockingIOError:
        return False
    except OSError:  # a kernel without it, or a container that does not let it be written
        return True
    return True
