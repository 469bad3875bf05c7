"""A file that is read with pauses while programs wait for a core."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

from algodock_common.crowding import Pace

if TYPE_CHECKING:
    from typing import BinaryIO

__all__ = ["PacedFile"]


class PacedFile:
    """Reads a file for an upload; to be used in a thread, for it blocks."""

    def __init__(self, file: BinaryIO) -> None:
        """Begin to count; ``file`` is closed by who opened it."""
        self._file = file
        self._pace = Pace()

    def read(self, size: int = -1) -> bytes:
        """Return the next ``size`` bytes, after a pause where the last ones made others wait."""
        data = self._file.read(size)
        time.sleep(self._pace.pause_s(len(data)))
        return data
