"""Restarting an instance whose work cannot be stopped otherwise: asked of the gateway, done by the deployer."""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from uuid import UUID

    from algodock_common.errors import AlgoDockError
    from algodock_common.web import InternalClient

__all__ = ["FakeRestarts", "HttpRestarts", "Restarts"]


class Restarts(Protocol):
    """Asks for restarts."""

    async def restart(self, algorithm: str, instance_id: UUID, *, operation_id: UUID, reason: str) -> None:
        """Have the instance ended and a new one in its place; when this returns, the wish is committed.

        The same ``operation_id`` again is the same restart.

        Raises:
            AlgoDockError: the gateway did not answer, or knows no such service.
        """
        ...


class HttpRestarts:
    """``Restarts`` over the gateway's internal HTTP."""

    def __init__(self, client: InternalClient) -> None:
        """Keep the client; nothing is sent."""
        self._client = client

    async def restart(self, algorithm: str, instance_id: UUID, *, operation_id: UUID, reason: str) -> None:
        """Ask the gateway."""
        await self._client.post(
            f"/internal/services/{algorithm}/restart",
            json={"operation_id": str(operation_id), "instance_id": str(instance_id), "reason": reason},
        )


class FakeRestarts:
    """``Restarts`` that only notes what was asked."""

    def __init__(self) -> None:
        """Note nothing yet; ``refusal`` is raised instead."""
        self.asked: list[tuple[str, UUID, UUID]] = []
        self.refusal: AlgoDockError | None = None

    async def restart(self, algorithm: str, instance_id: UUID, *, operation_id: UUID, reason: str) -> None:
        """Note it."""
        assert reason  # noqa: S101  # the real one shows it to people
        if self.refusal is not None:
            raise self.refusal
        self.asked.append((algorithm, instance_id, operation_id))
