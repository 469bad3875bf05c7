"""One command to many services: who is meant, what each answered, and what that makes of the whole."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import TYPE_CHECKING, Literal, TypeAlias
from uuid import UUID

from pydantic import BaseModel

from algodock_common.errors import InvalidInput

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from algodock_gateway.domain.services import ServiceView

__all__ = ["Batch", "BatchAction", "BatchResult", "BatchState", "Chosen", "ResultState", "Selection", "choose"]

BatchAction = Literal["start", "stop", "restart", "redeploy"]
ResultState = Literal["accepted", "running", "succeeded", "failed", "refused", "skipped"]
BatchState = Literal["running", "succeeded", "failed", "partly failed"]

_ENDED: frozenset[ResultState] = frozenset({"succeeded", "failed", "refused", "skipped"})
_BAD: frozenset[ResultState] = frozenset({"failed", "refused"})
_SAID: dict[str, ResultState] = {"queued": "accepted", "running": "running", "done": "succeeded", "failed": "failed"}

Chosen: TypeAlias = "list[tuple[str, ServiceView | None, ResultState, str]]"
"""A name, its service, what is made of it (``accepted``, ``refused``, ``skipped``) and why."""


class BatchResult(BaseModel):
    """What became of one service: its operation, or why it has none."""

    name: str
    service_id: UUID | None = None
    operation_id: UUID | None = None
    state: ResultState
    reason: str = ""


@dataclass(frozen=True)
class Selection:
    """Who is meant: everything, a group, or services by name or id; exactly one of them."""

    everything: bool = False
    group: str | None = None
    services: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        """Refuse a selection that says nothing, or two things.

        Raises:
            InvalidInput: it is not exactly one of ``all``, ``group`` and ``services``.
        """
        if [self.everything, self.group is not None, bool(self.services)].count(True) != 1:
            msg = "Say who is meant by exactly one of `all`, `group` and `services`."
            raise InvalidInput(msg)


def choose(
    action: BatchAction, selection: Selection, present: Sequence[ServiceView], elsewhere: frozenset[str]
) -> Chosen:
    """Return what is to be made of each service that is meant, by name.

    What is named by itself is done; of all, or of a group, only what the command makes sense for: nothing
    is started by a restart, and nothing that never had a release is started at all.
    """
    if selection.services:
        by_name = {key: view for view in present for key in (view.name, str(view.id))}
        found = [(name, by_name.get(name.lower())) for name in dict.fromkeys(selection.services)]
        chosen: Chosen = []
        for name, view in {(view.name if view else name): view for name, view in found}.items():
            if view is None:
                chosen.append((name, None, "refused", "there is no such service"))
            elif view.name in elsewhere:
                chosen.append((name, view, "refused", "it runs elsewhere: AlgoDock cannot start or stop it"))
            else:
                chosen.append((name, view, "accepted", ""))
        return chosen
    meant = [view for view in present if selection.everything or view.group == selection.group]
    return [(view.name, view, *_sense(action, view, view.name in elsewhere)) for view in meant]


def _sense(action: BatchAction, view: ServiceView, is_elsewhere: bool) -> tuple[ResultState, str]:  # noqa: FBT001
    if is_elsewhere:
        return "skipped", "it runs elsewhere"
    if action == "start":
        if view.release_id is None:
            return "skipped", "it was never live"
        return ("skipped", "it runs") if view.status == "running" else ("accepted", "")
    if view.status == "stopped":
        return "skipped", "it is stopped"
    return "accepted", ""


@dataclass(frozen=True)
class Batch:
    """A command to many services, with one result each."""

    id: UUID
    action: BatchAction
    actor: str
    results: list[BatchResult]
    created_at: datetime | None = None

    @property
    def ended(self) -> bool:
        """Say whether there is nothing left to wait for."""
        return all(result.state in _ENDED for result in self.results)

    @property
    def state(self) -> BatchState:
        """Return what the results make of the whole."""
        if not self.ended:
            return "running"
        bad = [result for result in self.results if result.state in _BAD]
        if not bad:
            return "succeeded"
        return "failed" if len(bad) == len(self.results) else "partly failed"

    def count(self, *states: ResultState) -> int:
        """Return how many services are in one of these states."""
        return sum(result.state in states for result in self.results)

    def open_operations(self) -> list[UUID]:
        """Return the operations that have not ended."""
        return [one.operation_id for one in self.results if one.operation_id and one.state not in _ENDED]

    def told(self, standing: Mapping[UUID, tuple[str, str]]) -> Batch:
        """Return the batch with what the deployer says of its operations: a state and a reason each."""
        results = [self._told(one, standing) for one in self.results]
        return Batch(self.id, self.action, self.actor, results, self.created_at)

    @staticmethod
    def _told(one: BatchResult, standing: Mapping[UUID, tuple[str, str]]) -> BatchResult:
        if one.operation_id is None or one.operation_id not in standing or one.state in _ENDED:
            return one
        state, reason = standing[one.operation_id]
        return one.model_copy(update={"state": _SAID[state], "reason": reason})
