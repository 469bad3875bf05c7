"""Services: as people see them, and what they ask of them; commands leave through the outbox."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any
from uuid import UUID

from algodock_common.errors import NotFound, Unavailable
from algodock_common.events import ServiceCommand
from algodock_common.identifiers import uuid7
from algodock_gateway.domain import RunsElsewhere, ServiceUnknown
from algodock_gateway.domain.operations import Operation, shown_at_once
from algodock_gateway.domain.services import ServiceView, elsewhere, view_of
from algodock_gateway.repository import Operations

if TYPE_CHECKING:
    from algodock_common.database import Database
    from algodock_common.routing import RoutingTable
    from algodock_gateway.clients import Deployer, JsonObject
    from algodock_gateway.domain.algorithm import Algorithm
    from algodock_gateway.domain.operations import Action
    from algodock_gateway.handlers.algorithms import Algorithms

__all__ = ["Services"]


class Services:
    """What the deployer runs and what runs elsewhere, and commands to the deployer."""

    def __init__(
        self, database: Database, algorithms: Algorithms, deployer: Deployer, table: RoutingTable, *, url: str
    ) -> None:
        """``url`` is the gateway's own, as people see it."""
        self._database = database
        self._algorithms = algorithms
        self._deployer = deployer
        self._table = table
        self._url = url

    async def all(self, *, state: str | None = None, group: str | None = None) -> list[ServiceView]:
        """Return every service by name, or those in one state, or of one group."""
        views = {view.name: view for view in (view_of(one, self._url) for one in await self._deployer.services())}
        for route in self._table.routes():
            view = elsewhere(route, self._url)
            if view is not None:
                views[view.name] = view
        found = sorted(views.values(), key=lambda view: view.name)
        return [view for view in found if state in (None, view.status) and group in (None, view.group)]

    def elsewhere(self) -> frozenset[str]:
        """Return the names of the services that run elsewhere."""
        return frozenset(route.algorithm for route in self._table.routes() if elsewhere(route, self._url) is not None)

    async def get(self, name_or_id: str) -> ServiceView:
        """Return one service.

        Raises:
            AlgorithmUnknown: there is no such algorithm.
            ServiceUnknown: nothing of it was deployed.
        """
        algorithm = await self._algorithms.find(name_or_id)
        route = self._table.route(algorithm.name)
        view = elsewhere(route, self._url) if route is not None else None
        if view is not None:
            return view
        try:
            return view_of(await self._deployer.service(algorithm.name), self._url)
        except NotFound as error:
            raise ServiceUnknown(algorithm.name) from error

    async def releases(self, name_or_id: str, *, commit: str | None = None) -> list[JsonObject]:
        """Return a service's releases, newest first; none were made yet: an empty list.

        Raises:
            AlgorithmUnknown: there is no such algorithm.
        """
        algorithm = await self._algorithms.find(name_or_id)
        try:
            return await self._deployer.releases(algorithm.name, commit=commit)
        except NotFound:
            return []

    async def release_for_log(self, algorithm: Algorithm, release_id: UUID | None) -> str:
        """Return the id of the release whose build log is meant: the one named, else the newest.

        Raises:
            NotFound: the service has no such release, or none at all.
        """
        releases = await self.releases(algorithm.name)
        for release in releases:
            if release_id is None or str(release["id"]) == str(release_id):
                return str(release["id"])
        wanted = "no release yet" if release_id is None else f"no release {release_id}"
        msg = f"{algorithm.name} has {wanted}."
        raise NotFound(msg)

    async def command(
        self,
        name_or_id: str,
        action: Action,
        *,
        actor: str,
        arguments: dict[str, Any] | None = None,
        operation_id: UUID | None = None,
    ) -> tuple[Algorithm, Operation, str]:
        """Accept a command; return the algorithm, the operation and the status to show for it now.

        With an ``operation_id`` of the caller's own, the same command again is the same operation.

        Raises:
            AlgorithmUnknown: there is no such algorithm.
            ServiceUnknown: nothing of it was deployed.
        """
        algorithm = await self._algorithms.find(name_or_id)
        try:
            await self._deployer.service(algorithm.name)
        except NotFound as error:
            raise ServiceUnknown(algorithm.name) from error
        except Unavailable:
            pass  # the command is a committed row and waits for the deployer to come back
        operation = Operation(operation_id or uuid7(), algorithm.id, action, arguments or {}, actor)
        async with self._database.transaction() as tx:
            if await Operations(tx.session).add(operation):
                tx.emit(
                    ServiceCommand(
                        operation_id=operation.id,
                        algorithm_id=algorithm.id,
                        algorithm=algorithm.name,
                        action=action,
                        arguments=operation.arguments,
                        actor=actor,
                    )
                )
        return algorithm, operation, shown_at_once(action)

    async def ask_canary(self, name_or_id: str, commit: str, percent: int) -> None:
        """Let a commit, once it is pushed, have only so many per cent of the service's calls.

        Raises:
            AlgorithmUnknown: there is no such algorithm.
            ServiceUnknown: nothing of it was deployed.
        """
        algorithm = await self._algorithms.find(name_or_id)
        try:
            await self._deployer.ask_canary(algorithm.name, commit, percent)
        except NotFound as error:
            raise ServiceUnknown(algorithm.name) from error

    async def restart_instance(self, name: str, instance_id: UUID, *, operation_id: UUID, reason: str) -> None:
        """Have one instance ended, its open calls with it, once another has taken its place.

        Raises:
            AlgorithmUnknown: there is no such algorithm.
            ServiceUnknown: nothing of it was deployed.
            RunsElsewhere: its instances are not AlgoDock's to restart.
        """
        route = self._table.route(name)
        if route is not None and elsewhere(route, self._url) is not None:
            raise RunsElsewhere(name)
        arguments = {"instance_id": str(instance_id), "reason": reason}
        await self.command(name, "restart", actor="runner", arguments=arguments, operation_id=operation_id)
