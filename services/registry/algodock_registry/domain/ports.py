"""Which ports are leased, and in which order they are tried."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Collection, Iterator

__all__ = ["PortRange"]

_UNPRIVILEGED = 1024
_HIGHEST = 65535


@dataclass(frozen=True, slots=True)
class PortRange:
    """The ports that are leased automatically, both ends included."""

    first: int
    last: int

    def __post_init__(self) -> None:
        """Refuse what is no range of unprivileged ports."""
        if not _UNPRIVILEGED <= self.first <= self.last <= _HIGHEST:
            msg = f"a port range lies within {_UNPRIVILEGED}-{_HIGHEST} and does not end before it begins: {self}"
            raise ValueError(msg)

    @classmethod
    def parse(cls, text: str) -> PortRange:
        """Read ``8100-8999``.

        Raises:
            ValueError: it is no range.
        """
        first, dash, last = text.replace("–", "-").partition("-")
        if not (dash and first.strip().isdecimal() and last.strip().isdecimal()):
            msg = f"a port range looks like 8100-8999, not {text!r}"
            raise ValueError(msg)
        return cls(int(first), int(last))

    def __str__(self) -> str:
        """Return ``first-last``."""
        return f"{self.first}-{self.last}"

    def __contains__(self, port: int) -> bool:
        """Say whether the port lies in the range."""
        return self.first <= port <= self.last

    def after(self, cursor: int | None, taken: Collection[int]) -> Iterator[int]:
        """Yield every port that is not ``taken``, once, beginning behind ``cursor``.

        Going round instead of taking the lowest keeps a port that was just freed out of use for as
        long as possible: late packets, clients with an old address and a program that is slow to
        die meet nobody else there.
        """
        start = cursor + 1 if cursor is not None and cursor in self and cursor < self.last else self.first
        for port in (*range(start, self.last + 1), *range(self.first, start)):
            if port not in taken:
                yield port
