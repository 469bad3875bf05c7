"""HTTP in: what instances use of the machine."""

from __future__ import annotations

from datetime import UTC, datetime
from uuid import UUID

from fastapi import APIRouter
from pydantic import BaseModel

from algodock_deployer import handlers

__all__ = ["make_router"]


class UsageAnswer(BaseModel):
    """What one instance uses, all its processes together; all of it is empty where none runs.

    ``cpu`` is in cores, ``memory_bytes`` resident; ``open_files`` is empty where the platform may not see them.
    """

    instance_id: UUID
    port: int
    phase: str
    cpu: float | None = None
    memory_bytes: int | None = None
    open_files: int | None = None
    processes: int | None = None
    threads: int | None = None
    started_at: datetime | None = None


class MetricsAnswer(BaseModel):
    """A service's instances, each with what it uses now."""

    service_id: UUID
    name: str
    instances: list[UsageAnswer]


def make_router(context: handlers.Context) -> APIRouter:
    """Return the routes."""
    router = APIRouter()

    @router.get("/services/{name}/metrics")
    async def metrics(name: str) -> MetricsAnswer:
        service, found = await handlers.usage_of(context, name)
        answers = []
        for one, used in found:
            answer = UsageAnswer(instance_id=one.id, port=one.port, phase=one.phase)
            if used is not None:
                answer.cpu, answer.memory_bytes, answer.open_files = used.cpu, used.memory, used.files
                answer.processes, answer.threads = used.processes, used.threads
                answer.started_at = datetime.fromtimestamp(used.started_at, UTC)
            answers.append(answer)
        return MetricsAnswer(service_id=service.id, name=service.name, instances=answers)

    return router
