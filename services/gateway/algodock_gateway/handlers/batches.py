"""One command to many services: accepted in one transaction, done by the deployer a few at a time, told one by one.

The deployer's own rows say how each ended; the batch keeps what it was told, so that it can be read later.
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Final

from algodock_common.errors import NotFound
from algodock_common.events import ServiceCommand
from algodock_common.identifiers import uuid7
from algodock_gateway.domain.batches import Batch, BatchResult, choose
from algodock_gateway.domain.operations import Operation
from algodock_gateway.repository import Batches as BatchRows
from algodock_gateway.repository import Operations

if TYPE_CHECKING:
    from uuid import UUID

    from algodock_common.database import Database
    from algodock_gateway.clients.fleet import Fleet
    from algodock_gateway.domain.batches import BatchAction, Selection
    from algodock_gateway.handlers.services import Services

__all__ = ["Batches"]

RELOOK_S: Final = 0.3


class Batches:
    """Commands to many services."""

    def __init__(self, database: Database, services: Services, fleet: Fleet) -> None:
        """Join what is needed."""
        self._database = database
        self._services = services
        self._fleet = fleet

    async def begin(self, action: BatchAction, selection: Selection, *, actor: str) -> Batch:
        """Accept the command for every service that is meant and can take it; each other one says why not.

        Raises:
            NotFound: there is no such group.
            Unavailable: the deployer does not say which services there are.
        """
        if selection.group is not None:
            await self._fleet.group(selection.group)
        present = await self._services.all()
        results: list[BatchResult] = []
        batch_id = uuid7()
        async with self._database.transaction() as tx:
            for name, view, state, reason in choose(action, selection, present, self._services.elsewhere()):
                if view is None or state != "accepted":
                    service_id = view.id if view else None
                    results.append(BatchResult(name=name, service_id=service_id, state=state, reason=reason))
                    continue
                operation = Operation(uuid7(), view.id, action, {"batch_id": str(batch_id)}, actor)
                await Operations(tx.session).add(operation)
                tx.emit(
                    ServiceCommand(
                        operation_id=operation.id,
                        algorithm_id=view.id,
                        algorithm=view.name,
                        action=action,
                        arguments=operation.arguments,
                        actor=actor,
                    )
                )
                results.append(
                    BatchResult(name=view.name, service_id=view.id, operation_id=operation.id, state="accepted")
                )
            batch = Batch(batch_id, action, actor, results)
            await BatchRows(tx.session).add(batch)
        return batch

    async def look(self, batch_id: UUID, *, wait_s: float) -> Batch:
        """Return a batch with what became of each service, as soon as all have ended or after ``wait_s``.

        Raises:
            NotFound: there is no such batch.
            Unavailable: the deployer does not say how the commands stand.
        """
        async with self._database.read() as session:
            batch = await BatchRows(session).get(batch_id)
        if batch is None:
            msg = f"There is no batch {batch_id}."
            raise NotFound(msg)
        loop = asyncio.get_running_loop()
        until = loop.time() + wait_s
        while not batch.ended:
            known = batch
            batch = batch.told(await self._fleet.standing(batch.open_operations()))
            if batch.results != known.results:
                async with self._database.transaction() as tx:
                    await BatchRows(tx.session).keep(batch)
            left = until - loop.time()
            if batch.ended or left <= 0:
                break
            await asyncio.sleep(min(left, RELOOK_S))  # the deployer's rows tell nobody
        return batch
