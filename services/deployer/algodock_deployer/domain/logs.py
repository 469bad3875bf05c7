"""Lines that programs wrote: which are wanted, and what is known of each."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import Literal

from algodock_common.errors import InvalidInput

__all__ = ["FoundLines", "LogLine", "Stream", "Wanted"]

Stream = Literal["stdout", "stderr", "all"]


@dataclass(frozen=True)
class LogLine:
    """One line; ``at`` is when it was there at the latest (to a second), None where nobody looked."""

    at: datetime | None
    stream: Literal["stdout", "stderr"]
    program: str
    text: str


@dataclass(frozen=True)
class FoundLines:
    """Lines, oldest first; not ``complete``: there was more to look through than one question may."""

    lines: list[LogLine]
    complete: bool = True


@dataclass(frozen=True)
class Wanted:
    """The last ``lines`` that contain ``search`` (case does not count) and were written between two times."""

    lines: int = 100
    stream: Stream = "all"
    search: str = ""
    since: datetime | None = None
    until: datetime | None = None

    def __post_init__(self) -> None:
        """Refuse a time that ends before it begins.

        Raises:
            InvalidInput: ``until`` is before ``since``.
        """
        if self.since is not None and self.until is not None and self.until < self.since:
            msg = "`until` is before `since`: nothing was written in between."
            raise InvalidInput(msg)

    @property
    def looks_back(self) -> bool:
        """Say whether earlier releases and rotated files count, too: whoever searches wants all there is."""
        return bool(self.search or self.since or self.until)

    def matches(self, text: str) -> bool:
        """Say whether a line has what is searched for."""
        return not self.search or self.search.casefold() in text.casefold()
