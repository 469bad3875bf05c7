"""The routing table: which instances an algorithm's calls may go to, and what is in flight on each.

Kept by ``instance.events`` and by the registry's snapshot (``feed``); read by the gateway for each
call and by the runner's worker for each attempt. One event loop's own: no locks.
"""

from __future__ import annotations

import time
from collections import OrderedDict
from typing import TYPE_CHECKING

from pydantic import BaseModel, ConfigDict, Field

from algodock_common.events import InstanceChanged, InstanceState, Limits

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Iterable, Mapping
    from uuid import UUID

__all__ = ["Instance", "Route", "RouteSnapshot", "RoutingTable"]

SUSPECT_S = 1.0
"""Seconds that an instance which refused a connection is passed over while another one is there."""

_TOMBSTONES = 4096


class RouteSnapshot(BaseModel):
    """What the registry answers to ``GET /internal/routes``: every instance that is not gone."""

    model_config = ConfigDict(extra="ignore", frozen=True)

    epoch: int = Field(ge=0)
    instances: list[InstanceChanged]


class Instance:
    """One instance as this router knows it. ``in_flight`` counts this router's own calls."""

    __slots__ = (
        "_lost_until", "algorithm", "algorithm_id", "base_url", "commit", "config_version", "credit", "draining",
        "epoch", "host", "id", "in_flight", "limits", "port", "release_id", "state", "trace", "weight",
    )  # fmt: skip

    def __init__(self, data: InstanceChanged) -> None:
        """Make the instance of an event's data."""
        self.id = data.instance_id
        self.in_flight = 0
        self.credit = 0
        self._lost_until = 0.0
        self.update(data)

    def update(self, data: InstanceChanged) -> None:
        """Take over what an event says."""
        self.algorithm = data.algorithm
        self.algorithm_id = data.algorithm_id
        self.host = data.host
        self.port = data.port
        self.base_url = data.base_url.rstrip("/")
        self.release_id = data.release_id
        self.commit = data.commit
        self.config_version = data.config_version
        self.state: InstanceState = data.state
        self.weight = data.weight
        self.limits = data.limits
        self.epoch = data.epoch
        self.trace = data.trace
        self.draining = data.state in {"draining", "gone"}

    @property
    def callable(self) -> bool:
        """Say whether calls may go to it."""
        return self.state == "ready" and self.weight > 0

    def suspect(self) -> None:
        """Note that it refused a connection just now: for a moment others are preferred."""
        self._lost_until = time.monotonic() + SUSPECT_S

    @property
    def suspected(self) -> bool:
        """Say whether it refused a connection a moment ago."""
        return self._lost_until > 0 and self._lost_until > time.monotonic()

    def __repr__(self) -> str:
        """Return a line for logs."""
        return f"<Instance {self.algorithm} {self.host}:{self.port} {self.state} in_flight={self.in_flight}>"


class Route:
    """All instances of one algorithm, the limits that its service is held to, and whether it speaks gRPC.

    The object stays the same while the algorithm has instances, so a router may keep a counter by it.
    """

    __slots__ = ("_turn", "_uneven", "algorithm", "algorithm_id", "instances", "limits", "ready", "speaks_grpc")

    def __init__(self, algorithm: str, algorithm_id: UUID) -> None:
        """Make an empty route."""
        self.algorithm = algorithm
        self.algorithm_id = algorithm_id
        self.instances: dict[UUID, Instance] = {}
        self.ready: tuple[Instance, ...] = ()
        self.limits = Limits()
        self.speaks_grpc = False
        self._turn = 0
        self._uneven = False

    def arrange(self) -> None:
        """Find again who is ready and whose limits hold: those of the newest ready instance."""
        self.ready = tuple(instance for instance in self.instances.values() if instance.callable)
        self._uneven = len({one.weight for one in self.ready}) > 1
        for one in self.ready:
            one.credit = 0
        newest = max(self.ready or self.instances.values(), key=lambda one: one.epoch, default=None)
        if newest is not None:
            self.limits = newest.limits
            self.algorithm_id = newest.algorithm_id
            self.speaks_grpc = newest.base_url.startswith("grpc://")

    @property
    def concurrency(self) -> int | None:
        """Return how many calls its instances take at once, all together; None: no limit."""
        return self.limits.concurrency

    def pick(self, avoid: Collection[UUID] = ()) -> Instance | None:
        """Choose a ready instance and count one call on it: the one with the least in flight, equals in turn.

        Of instances with different weights each gets its share of the calls, also of few. ``avoid`` are instances
        already tried for this call. Give the call back with ``RoutingTable.release``.
        """
        ready = self.ready
        count = len(ready)
        if count == 1 and not avoid:  # the common case costs nothing
            only = ready[0]
            only.in_flight += 1
            return only
        if self._uneven:
            return self._pick_by_share(avoid)
        best: Instance | None = None
        best_suspected = False
        self._turn = turn = (self._turn + 1) % count if count else 0
        for offset in range(count):
            one = ready[(turn + offset) % count]
            if one.id in avoid:
                continue
            suspected = one.suspected
            if (
                best is None
                or (best_suspected and not suspected)
                or (best_suspected == suspected and one.in_flight < best.in_flight)
            ):
                best, best_suspected = one, suspected
        if best is not None:
            best.in_flight += 1
        return best

    def take_back(self, picked: Instance) -> None:
        """Undo a ``pick`` for which nothing was done, its turn included: the next one chooses as it did."""
        picked.in_flight -= 1
        self._turn -= 1
        if self._uneven:
            self._credit(self.ready, picked, -1)

    def _pick_by_share(self, avoid: Collection[UUID]) -> Instance | None:
        """Choose by weights alone, evenly spread: of 9 and 1 each tenth call goes to the second."""
        found = [one for one in self.ready if one.id not in avoid]
        found = [one for one in found if not one.suspected] or found
        if not found:
            return None
        best = max(found, key=lambda one: one.credit + one.weight)
        self._credit(found, best, 1)
        best.in_flight += 1
        return best

    @staticmethod
    def _credit(among: Collection[Instance], best: Instance, sign: int) -> None:
        for one in among:
            one.credit += sign * one.weight
        best.credit -= sign * sum(one.weight for one in among)


class RoutingTable:
    """Algorithm to instances, in memory.

    Events may come twice, late and out of order: each change of an instance has an epoch of its own,
    only a higher one is applied, and what is gone does not come back by an old event. ``epoch`` is the
    highest registry epoch that this table has *wholly* seen; only a snapshot proves that, because
    events of different algorithms travel in different partitions and overtake each other.
    """

    def __init__(self) -> None:
        """Make an empty table."""
        self.epoch = 0
        self._routes: dict[str, Route] = {}
        self._instances: dict[UUID, Instance] = {}
        self._gone: OrderedDict[UUID, int] = OrderedDict()
        self._listeners: list[Callable[[], None]] = []

    def listen(self, listener: Callable[[], None]) -> None:
        """Call ``listener`` (quick, not raising) after a change, and when a draining instance becomes idle."""
        self._listeners.append(listener)

    def route(self, algorithm: str) -> Route | None:
        """Return the algorithm's route, or None when no instance of it was ever seen here."""
        return self._routes.get(algorithm)

    def routes(self) -> Iterable[Route]:
        """Return all routes."""
        return self._routes.values()

    def instance(self, instance_id: UUID) -> Instance | None:
        """Return one instance, or None."""
        return self._instances.get(instance_id)

    def apply(self, data: InstanceChanged) -> bool:
        """Apply one event; return False when the table already knows as much or more."""
        changed = self._apply(data)
        if changed:
            self._tell()
        return changed

    def load(self, snapshot: RouteSnapshot) -> bool:
        """Take over a snapshot: apply what is newer, drop what it no longer has; return whether anything changed.

        An instance that is not in the snapshot is gone, unless its own event is of a later epoch. A
        snapshot older than one already taken over means that the registry began anew: nothing
        known before counts then.
        """
        changed = False
        if snapshot.epoch < self.epoch:
            for known in list(self._instances.values()):
                self._drop(known, known.epoch)
            self._gone.clear()
            self.epoch = 0
        present = set()
        for one in snapshot.instances:
            present.add(one.instance_id)
            changed |= self._apply(one)
        for missing in [one for one in self._instances.values() if one.id not in present]:
            if missing.epoch <= snapshot.epoch:
                self._drop(missing, missing.epoch)
                changed = True
        if snapshot.epoch > self.epoch:
            self.epoch = snapshot.epoch
            changed = True
        if changed:
            self._tell()
        return changed

    def pick(self, algorithm: str, *, avoid: Collection[UUID] = ()) -> Instance | None:
        """Choose an instance for one call and count it in flight; None when none is ready."""
        route = self._routes.get(algorithm)
        return None if route is None else route.pick(avoid)

    def release(self, instance: Instance) -> None:
        """Count one call of ``instance`` as over."""
        instance.in_flight -= 1
        if instance.draining and instance.in_flight <= 0:
            self._tell()

    def draining(self) -> Mapping[str, int]:
        """Return the instances that drain, with this router's calls still in flight on each."""
        return {str(one.id): one.in_flight for one in self._instances.values() if one.draining}

    def _apply(self, data: InstanceChanged) -> bool:
        known = self._instances.get(data.instance_id)
        seen = known.epoch if known is not None else self._gone.get(data.instance_id)
        if seen is not None and data.epoch <= seen:
            return False
        if data.state == "gone":
            if known is None:
                self._bury(data.instance_id, data.epoch)
                return False
            self._drop(known, data.epoch)
            return True
        route = self._routes.get(data.algorithm)
        if route is None:
            route = self._routes[data.algorithm] = Route(data.algorithm, data.algorithm_id)
        if known is None:
            known = self._instances[data.instance_id] = Instance(data)
        else:
            known.update(data)
        route.instances[known.id] = known
        route.arrange()
        return True

    def _drop(self, instance: Instance, epoch: int) -> None:
        self._bury(instance.id, epoch)
        instance.state = "gone"
        instance.draining = True
        del self._instances[instance.id]
        route = self._routes[instance.algorithm]
        route.instances.pop(instance.id, None)
        route.arrange()

    def _bury(self, instance_id: UUID, epoch: int) -> None:
        self._gone[instance_id] = epoch
        if len(self._gone) > _TOMBSTONES:
            self._gone.popitem(last=False)

    def _tell(self) -> None:
        for listener in self._listeners:
            listener()
