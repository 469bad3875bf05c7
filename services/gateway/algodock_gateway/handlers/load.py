"""What calls do to services here, for whoever scales them: open ones, waiting ones, how long they took."""

from __future__ import annotations

from typing import TYPE_CHECKING

from algodock_common.events import ServiceLoad

if TYPE_CHECKING:
    from algodock_gateway.handlers.call_book import CallBook
    from algodock_gateway.handlers.calls import CallDesk

__all__ = ["CallLoad"]


class CallLoad:
    """Looks at the gates and at the calls that ended since the last look."""

    def __init__(self, desk: CallDesk, book: CallBook, router_id: str) -> None:
        """Keep what it looks at; ``router_id`` is this gateway's."""
        self._desk = desk
        self._book = book
        self._router_id = router_id

    async def look(self) -> list[ServiceLoad]:
        """Return every service that a call was ever let in to and that has instances."""
        ended = self._book.durations.drain()
        found = []
        for gate in self._desk.gates():
            route = self._desk.table.route(gate.name)
            if route is None:
                continue
            calls, p95_ms = ended.get(gate.name, (0, None))
            found.append(
                ServiceLoad(
                    router=self._router_id,
                    algorithm_id=route.algorithm_id,
                    algorithm=gate.name,
                    in_flight=gate.in_flight,
                    queued=gate.queued,
                    calls=calls,
                    p95_ms=p95_ms,
                )
            )
        return found
