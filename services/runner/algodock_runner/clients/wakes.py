"""Waking services that sleep: asked of the deployer."""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from algodock_common.web import InternalClient

__all__ = ["FakeWakes", "HttpWakes", "Wakes"]


class Wakes(Protocol):
    """Asks for instances of services that have none."""

    async def wake(self, algorithm: str) -> None:
        """Ask for an instance if the service sleeps; one that is stopped stays so.

        Raises:
            AlgoDockError: the deployer did not answer, or knows no such service.
        """
        ...


class HttpWakes:
    """``Wakes`` over the deployer's internal HTTP."""

    def __init__(self, client: InternalClient) -> None:
        """Keep the client; nothing is sent."""
        self._client = client

    async def wake(self, algorithm: str) -> None:
        """Ask the deployer."""
        await self._client.post(f"/internal/services/{algorithm}/wake")


class FakeWakes:
    """``Wakes`` that only notes what was asked."""

    def __init__(self) -> None:
        """Note nothing yet."""
        self.asked: list[str] = []

    async def wake(self, algorithm: str) -> None:
        """Note it."""
        self.asked.append(algorithm)
