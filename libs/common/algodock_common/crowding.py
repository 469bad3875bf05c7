"""How who moves a large file gives way where programs wait for a core, by the kernel's own account of that.

Priorities settle who gets a core next, not that one is free: who keeps both of two cores busy makes each program
that wakes wait for a slice of its time. So a large file moves with pauses while others wait, and without where none do.
"""

from __future__ import annotations

import time
from pathlib import Path
from typing import Final

__all__ = ["Pace", "waited_us"]

PRESSURE: Final = Path("/proc/pressure/cpu")
LONGEST_PAUSE_S_PER_BYTE: Final = 0.025 / 2**20
"""Where some program waits for a core all the time: a file of 50 MB takes 1.2 s longer."""


class Pace:
    """The pace of one large file: say what was moved, and wait as long as it says."""

    def __init__(self, pressure: Path = PRESSURE) -> None:
        """Begin to count; ``pressure`` is where the kernel tells how long programs waited."""
        self._pressure = pressure
        self._asked = time.monotonic()
        self._waited_us = waited_us(pressure)

    def pause_s(self, size: int) -> float:
        """Return how many seconds to pause after ``size`` bytes: the more of the time somebody waited, the longer.

        Args:
            size: what was moved since the last question, in bytes.
        """
        now, waited = time.monotonic(), waited_us(self._pressure)
        if waited is None or self._waited_us is None:
            return 0.0
        passed_us, stalled_us = 1e6 * (now - self._asked), waited - self._waited_us
        self._asked, self._waited_us = now, waited
        if passed_us <= 0:
            return 0.0
        return size * LONGEST_PAUSE_S_PER_BYTE * min(1.0, max(0.0, stalled_us / passed_us))


def waited_us(pressure: Path = PRESSURE) -> int | None:
    """Return for how many µs since its start some program of the machine waited for a core, None if it does not tell.

    Source: Documentation/accounting/psi.rst of Linux, the ``total`` of the line ``some``.
    """
    try:
        return int(pressure.read_text(encoding="ascii").partition("total=")[2].split()[0])
    except (OSError, ValueError, IndexError):  # no Linux, an old or a differently built one
        return None
