"""Which algorithms exist, in memory: "unknown" (404) and "known, but nothing ready" (503) differ."""

from __future__ import annotations

from collections import OrderedDict
from time import monotonic
from typing import TYPE_CHECKING, Final, Protocol

if TYPE_CHECKING:
    from collections.abc import Iterable

    from algodock_gateway.domain.algorithm import Algorithm

__all__ = ["AlgorithmSource", "Directory"]

MISSED_S: Final = 1.0
_MISSED_KEPT: Final = 10_000


class AlgorithmSource(Protocol):
    """Where algorithms are kept."""

    async def all_algorithms(self) -> Iterable[Algorithm]:
        """Return every algorithm."""
        ...

    async def algorithm(self, name_or_id: str) -> Algorithm | None:
        """Return one algorithm by name or UUID."""
        ...


class Directory:
    """Algorithms by name and by id; an unknown name costs a query at most once a second."""

    def __init__(self, source: AlgorithmSource) -> None:
        """Make an empty directory; ``load`` fills it."""
        self._source = source
        self._known: dict[str, Algorithm] = {}
        self._missed: OrderedDict[str, float] = OrderedDict()

    async def load(self) -> None:
        """Read all algorithms."""
        for algorithm in await self._source.all_algorithms():
            self.add(algorithm)

    def add(self, algorithm: Algorithm) -> None:
        """Take an algorithm in, or its new state."""
        self._known[algorithm.name] = algorithm
        self._known[str(algorithm.id)] = algorithm
        self._missed.pop(algorithm.name, None)

    async def find(self, name_or_id: str) -> Algorithm | None:
        """Return the algorithm of a name or a UUID in lower case, None if there is none."""
        found = self._known.get(name_or_id)
        if found is not None:
            return found
        missed_at = self._missed.get(name_or_id)
        if missed_at is not None and monotonic() - missed_at < MISSED_S:
            return None
        found = await self._source.algorithm(name_or_id)
        if found is not None:
            self.add(found)
            return found
        self._missed[name_or_id] = monotonic()
        self._missed.move_to_end(name_or_id)
        if len(self._missed) > _MISSED_KEPT:
            self._missed.popitem(last=False)
        return None
