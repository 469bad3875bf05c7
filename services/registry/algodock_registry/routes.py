"""HTTP in: the deployer and the gateway (service token), and instances' beats (their own token)."""

from __future__ import annotations

from datetime import datetime
from typing import TYPE_CHECKING, Annotated, Any, Literal
from uuid import UUID

from fastapi import APIRouter, Depends, Header, Query
from pydantic import BaseModel, ConfigDict, Field, FiniteFloat
from starlette.responses import Response

from algodock_common.events import InstanceChanged, InstanceState, Limits
from algodock_common.identifiers import AlgorithmName
from algodock_common.web import bearer_token, require_service_token
from algodock_registry import handlers
from algodock_registry.domain import WrongInstanceToken

if TYPE_CHECKING:
    from collections.abc import Sequence

    from algodock_registry.repository import Instance

__all__ = ["make_router"]

HealthPath = Annotated[str, Field(pattern=r"^/[^\s#]*$", max_length=512)]


class _Body(BaseModel):
    model_config = ConfigDict(extra="forbid")


class NewInstanceBody(_Body):
    """What the deployer is about to start."""

    algorithm_id: UUID
    algorithm: AlgorithmName
    release_id: UUID
    commit: str = ""
    node_id: str = Field(min_length=1, max_length=255)
    host: str = Field(default="127.0.0.1", min_length=1, max_length=255)
    index: int = Field(default=0, ge=0)
    pinned_port: int | None = Field(default=None, ge=1024, le=65535)
    limits: Limits = Field(default_factory=Limits)
    health_path: HealthPath = "/health"
    sends_heartbeats: bool = False
    protocol: Literal["http", "grpc"] = "http"


class ExternalBody(_Body):
    """A service that runs elsewhere."""

    name: AlgorithmName
    algorithm_id: UUID
    url: str = Field(min_length=1, max_length=2048)
    health_path: HealthPath = "/health"


class RegisteredAnswer(BaseModel):
    """An instance's address and its own token."""

    instance_id: UUID
    host: str
    port: int
    base_url: str
    state: InstanceState
    token: str

    @classmethod
    def of(cls, registered: handlers.Registered) -> RegisteredAnswer:
        """Return the answer for what was registered."""
        one = registered.instance
        return cls(
            instance_id=one.id,
            host=one.host,
            port=one.port,
            base_url=one.base_url,
            state=one.state,
            token=registered.token,
        )


class InstanceAnswer(BaseModel):
    """An instance with everything the registry knows of it."""

    model_config = ConfigDict(from_attributes=True)

    instance_id: UUID = Field(validation_alias="id")
    algorithm_id: UUID
    algorithm: str
    release_id: UUID | None
    commit: str
    index: int = Field(validation_alias="ordinal")
    node_id: str
    host: str
    port: int
    base_url: str
    health_path: str
    state: InstanceState
    weight: int
    epoch: int
    sends_heartbeats: bool
    missed: int
    status: str
    metrics: dict[str, Any]
    seen_at: datetime | None
    created_at: datetime
    changed_at: datetime


class InstancesAnswer(BaseModel):
    """Instances, oldest first."""

    instances: list[InstanceAnswer]


class Address(BaseModel):
    """Where a name is served."""

    model_config = ConfigDict(from_attributes=True)

    host: str
    port: int
    base_url: str
    state: InstanceState
    weight: int
    release_id: UUID | None


class DiscoverAnswer(BaseModel):
    """Every instance that answers for a name now."""

    name: str
    instances: list[Address]


class WeightBody(_Body):
    """How much an instance gets, compared with the others; 0: nothing new."""

    weight: int = Field(ge=0, le=1000)
    force: bool = False


class RegisteredService(BaseModel):
    """A name with all its instances; ``ready`` is how many take calls now."""

    name: str
    service_id: UUID
    ready: int
    instances: list[InstanceAnswer]


class RegisteredServicesAnswer(BaseModel):
    """Services by name."""

    services: list[RegisteredService]

    @classmethod
    def of(cls, found: Sequence[Instance]) -> RegisteredServicesAnswer:
        """Return the answer for all instances that are not gone."""
        by_name: dict[str, list[Instance]] = {}
        for one in found:
            by_name.setdefault(one.algorithm, []).append(one)
        return cls(
            services=[
                RegisteredService(
                    name=name,
                    service_id=instances[0].algorithm_id,
                    ready=sum(one.state == "ready" and one.weight > 0 for one in instances),
                    instances=[InstanceAnswer.model_validate(one) for one in instances],
                )
                for name, instances in sorted(by_name.items())
            ]
        )


class RoutesAnswer(BaseModel):
    """The snapshot that routers begin with."""

    epoch: int
    instances: list[InstanceChanged]

    @classmethod
    def of(cls, epoch: int, instances: Sequence[Instance]) -> RoutesAnswer:
        """Return the answer for the instances of one moment."""
        return cls(epoch=epoch, instances=[one.as_event() for one in instances])


_Word = Annotated[str, Field(max_length=64, pattern=r"\A[^\x00]*\z")]


class BeatBody(BaseModel):
    """What an instance says of itself; all of it may be left out.

    What the database keeps in no row is refused here: beats are written together, and one would hold up all.
    """

    model_config = ConfigDict(extra="ignore")

    status: _Word = ""
    metrics: dict[_Word, FiniteFloat] = Field(default_factory=dict, max_length=32)


def make_router(context: handlers.Context, beats: handlers.BeatBook) -> APIRouter:
    """Return all routes of the registry."""
    router = APIRouter()
    router.include_router(_internal(context))

    @router.post("/heartbeat", status_code=204, response_class=Response)
    async def heartbeat(authorization: Annotated[str | None, Header()] = None, beat: BeatBody | None = None) -> None:
        token = bearer_token(authorization)
        if token is None:
            msg = "an instance's own token is needed"
            raise WrongInstanceToken(msg)
        said = beat or BeatBody()
        beats.note(token, said.status, said.metrics)

    return router


def _internal(context: handlers.Context) -> APIRouter:
    router = APIRouter(dependencies=[Depends(require_service_token)])

    @router.post("/internal/instances", status_code=201)
    async def register(body: NewInstanceBody) -> RegisteredAnswer:
        new = handlers.NewInstance(**{name: getattr(body, name) for name in NewInstanceBody.model_fields})
        return RegisteredAnswer.of(await handlers.register(context, new))

    @router.delete("/internal/instances/{instance_id}", status_code=204, response_class=Response)
    async def remove(instance_id: UUID, *, blocked: Annotated[bool, Query()] = False) -> None:
        await handlers.remove(context, instance_id, blocked=blocked)

    @router.get("/internal/instances")
    async def instances(
        algorithm: str | None = None, node_id: str | None = None, *, gone: Annotated[bool, Query()] = False
    ) -> InstancesAnswer:
        found = await handlers.find_instances(context, algorithm=algorithm, node_id=node_id, gone=gone)
        return InstancesAnswer(instances=[InstanceAnswer.model_validate(one) for one in found])

    @router.post("/internal/external", status_code=201)
    async def register_external(body: ExternalBody) -> RegisteredAnswer:
        service = handlers.ExternalService(body.name, body.algorithm_id, body.url, body.health_path)
        return RegisteredAnswer.of(await handlers.register_external(context, service))

    @router.get("/internal/routes")
    async def routes() -> RoutesAnswer:
        return RoutesAnswer.of(*await handlers.routes(context))

    @router.get("/internal/registered")
    async def registered() -> RegisteredServicesAnswer:
        return RegisteredServicesAnswer.of(
            await handlers.find_instances(context, algorithm=None, node_id=None, gone=False)
        )

    @router.put("/internal/instances/{instance_id}/weight")
    async def weigh(instance_id: UUID, body: WeightBody) -> InstanceAnswer:
        found = await handlers.weigh(context, instance_id, body.weight, force=body.force)
        return InstanceAnswer.model_validate(found)

    @router.get("/discover/{name}")
    async def discover(name: str) -> DiscoverAnswer:
        found = await handlers.discover(context, name)
        return DiscoverAnswer(name=name, instances=[Address.model_validate(one) for one in found])

    return router
