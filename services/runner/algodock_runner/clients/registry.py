"""The registry, as far as the runner's API asks it: what the algorithms that run declare of their queues."""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

from pydantic import ValidationError

from algodock_common.errors import UpstreamFailed
from algodock_common.routing import RouteSnapshot

if TYPE_CHECKING:
    from algodock_common.web import InternalClient

__all__ = ["FakeRegistry", "HttpRegistry", "Registry"]


class Registry(Protocol):
    """What the registry knows of limits."""

    async def declared_depths(self) -> dict[str, int]:
        """Return by algorithm how many tasks may wait; one whose manifest says nothing is missing.

        Raises:
            AlgoDockError: the registry does not answer, or not as expected.
        """
        ...


class HttpRegistry:
    """The registry over HTTP."""

    def __init__(self, client: InternalClient) -> None:
        """Keep the client."""
        self._client = client

    async def declared_depths(self) -> dict[str, int]:
        """Read its snapshot of routes; the newest instance of an algorithm speaks for it."""
        answer = await self._client.get("/internal/routes")
        try:
            instances = RouteSnapshot.model_validate(answer).instances
        except ValidationError as error:
            msg = "the registry's routes have another shape than expected"
            raise UpstreamFailed(msg) from error
        newest = {one.algorithm: one.limits.task_queue for one in sorted(instances, key=lambda one: one.epoch)}
        return {algorithm: depth for algorithm, depth in newest.items() if depth is not None}


class FakeRegistry:
    """A registry that says what a test sets."""

    def __init__(self) -> None:
        """Nothing is declared."""
        self.declared: dict[str, int] = {}

    async def declared_depths(self) -> dict[str, int]:
        """Return what was set."""
        return dict(self.declared)
