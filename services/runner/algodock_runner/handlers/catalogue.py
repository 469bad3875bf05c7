"""Which algorithms a task may name: told by events, and asked for when a name is new."""

from __future__ import annotations

import asyncio
import time
from typing import TYPE_CHECKING
from uuid import UUID

from algodock_common.database import accept_once
from algodock_runner.domain.algorithms import KnownAlgorithm
from algodock_runner.domain.errors import UnknownAlgorithm
from algodock_runner.repository.algorithms import find_algorithms, remember

if TYPE_CHECKING:
    from collections.abc import Collection

    from algodock_common.database import Database
    from algodock_common.events import AlgorithmChanged, Event
    from algodock_runner.clients.gateway import Gateway

__all__ = ["Catalogue"]

REMEMBER_S = 2.0
REMEMBERED = 1000


class Catalogue:
    """The algorithms that are known here. The gateway's snapshot is the truth behind the events."""

    def __init__(self, db: Database, gateway: Gateway) -> None:
        """Keep both; nothing is read."""
        self._db = db
        self._gateway = gateway
        self._reading = asyncio.Lock()
        self._readings_begun = 0
        self._seen: dict[str, tuple[float, KnownAlgorithm]] = {}

    async def changed(self, event: Event[AlgorithmChanged]) -> None:
        """Take over what an event says, unless a later one was there."""
        data = event.data
        async with self._db.transaction() as tx:
            if await accept_once(tx, "runner", event):
                limits = data.limits.model_dump(exclude_none=True)
                await remember(tx, [KnownAlgorithm(data.algorithm_id, data.algorithm, data.state, data.owner, limits)])
        self._seen.clear()

    async def resolve(self, reference: str) -> KnownAlgorithm:
        """Return the algorithm that a name or id stands for.

        Raises:
            UnknownAlgorithm: there is none, or it is archived.
            Unavailable: the gateway would have to be asked and does not answer.
        """
        found = (await self.resolve_all([reference]))[reference]
        if isinstance(found, UnknownAlgorithm):
            raise found
        return found

    async def resolve_all(self, references: Collection[str]) -> dict[str, KnownAlgorithm | UnknownAlgorithm]:
        """Return what names or ids stand for, or why they stand for nothing.

        One that is not known yet may have been made a moment ago: then the gateway is asked, once
        for all of them.

        Raises:
            Unavailable: the gateway would have to be asked and does not answer.
        """
        now = time.monotonic()
        answers: dict[str, KnownAlgorithm | UnknownAlgorithm] = {}
        for reference in references:
            seen = self._seen.get(reference)
            if seen is not None and seen[0] > now:
                answers[reference] = seen[1]
        new = [reference for reference in references if reference not in answers]
        if new:
            found = await self._find(new)
            if len(found) < len(new):
                await self._read_after(self._readings_begun)
                found = await self._find(new)
            answers |= {reference: self._judged(reference, found.get(reference)) for reference in new}
        return answers

    def _judged(self, reference: str, found: KnownAlgorithm | None) -> KnownAlgorithm | UnknownAlgorithm:
        if found is None:
            return UnknownAlgorithm(f"There is no algorithm {reference!r}.")
        if found.archived:
            return UnknownAlgorithm(f"The algorithm {reference!r} is archived and takes no more tasks.")
        if len(self._seen) >= REMEMBERED:
            self._seen.clear()
        self._seen[reference] = (time.monotonic() + REMEMBER_S, found)
        return found

    async def refresh(self) -> None:
        """Take over the gateway's snapshot.

        Raises:
            AlgoDockError: the gateway does not answer.
        """
        await self._read_after(self._readings_begun)

    async def _read_after(self, begun: int) -> None:
        """Read the snapshot, or wait for a reading that began after ``begun`` ones had."""
        async with self._reading:
            if self._readings_begun > begun:
                return
            self._readings_begun += 1
            snapshot = await self._gateway.algorithms()
            async with self._db.transaction() as tx:
                await remember(tx, snapshot)

    async def _find(self, references: Collection[str]) -> dict[str, KnownAlgorithm]:
        ids = {reference: id_ for reference in references if (id_ := _as_id(reference)) is not None}
        async with self._db.read() as session:
            rows = await find_algorithms(session, list(references), list(ids.values()))
        by_id = {row.id: row for row in rows}
        found = {reference: by_id[id_] for reference, id_ in ids.items() if id_ in by_id}
        return found | {row.name: row for row in rows if row.name in references}


def _as_id(reference: str) -> UUID | None:
    try:
        return UUID(reference)
    except ValueError:
        return None
