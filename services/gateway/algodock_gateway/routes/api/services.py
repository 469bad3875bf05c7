"""``/api/v1/services``: how services are, their releases and logs, and commands to them."""

from __future__ import annotations

from datetime import datetime
from http import HTTPStatus
from typing import TYPE_CHECKING, Annotated, Any, Literal
from uuid import UUID

from fastapi import APIRouter, Header, Query
from fastapi.responses import PlainTextResponse, Response
from pydantic import BaseModel, ConfigDict, Field, model_validator

from algodock_common.events import MOST_INSTANCES, ScaleRule
from algodock_gateway.routes.api.answers import (
    CommandAnswer,
    ReleaseAnswer,
    ReleasesAnswer,
    RemovedAnswer,
    ServicesAnswer,
    StatusAnswer,
)
from algodock_gateway.routes.gatekeeper import Caller
from algodock_gateway.routes.relay import Relayed

if TYPE_CHECKING:
    from algodock_gateway.domain.keys import ApiKey
    from algodock_gateway.domain.operations import Action
    from algodock_gateway.handlers.algorithms import Algorithms
    from algodock_gateway.handlers.services import Services
    from algodock_gateway.routes.relay import Peer, Relay

__all__ = ["make_router"]

FOLLOW_S = 3600.0
"""A log that is followed may be silent for long."""


class RollbackTo(BaseModel):
    """Which release shall serve again; none: the one before."""

    model_config = ConfigDict(extra="ignore")

    release_id: UUID | None = None


class CanaryOf(BaseModel):
    """The commit that shall get only some of the calls, and how many per cent."""

    model_config = ConfigDict(extra="forbid")

    commit: str = Field(pattern=r"^[0-9a-f]{40}([0-9a-f]{24})?$")
    percent: int = Field(default=10, ge=1, le=99)


class ScaleTo(BaseModel):
    """How many instances a service shall have, or the rule that says so."""

    model_config = ConfigDict(extra="forbid")

    instances: int | None = Field(default=None, ge=1, le=MOST_INSTANCES)
    rule: ScaleRule | None = None

    @model_validator(mode="after")
    def _one_of_both(self) -> ScaleTo:
        if (self.instances is None) == (self.rule is None):
            msg = "give either instances or a rule"
            raise ValueError(msg)
        return self


def make_router(services: Services, algorithms: Algorithms, relay: Relay, deployer: Peer) -> APIRouter:
    """Return the routes."""
    router = APIRouter(prefix="/services", tags=["services"])
    _add_views(router, services)
    _add_commands(router, services)
    _add_logs(router, services, algorithms, relay, deployer)
    return router


def _add_views(router: APIRouter, services: Services) -> None:
    @router.get("")
    async def all_services(_: Caller, state: str | None = None, group: str | None = None) -> ServicesAnswer:
        """List the services, or those in one state, or of one group."""
        return ServicesAnswer(services=await services.all(state=state, group=group))

    @router.get("/status/{name_or_id}")
    async def status(name_or_id: str, _: Caller) -> StatusAnswer:
        """Show how a service is."""
        view = await services.get(name_or_id)
        return StatusAnswer(
            service_id=view.id, **view.model_dump(include=set(StatusAnswer.model_fields) - {"service_id"})
        )

    @router.get("/releases/{name_or_id}")
    async def releases(name_or_id: str, _: Caller, commit: str | None = None) -> ReleasesAnswer:
        """List a service's releases, newest first."""
        found = await services.releases(name_or_id, commit=commit)
        return ReleasesAnswer(releases=[ReleaseAnswer.model_validate(one) for one in found])


def _add_commands(router: APIRouter, services: Services) -> None:
    @router.post("/start/{name_or_id}", status_code=HTTPStatus.ACCEPTED)
    async def start(name_or_id: str, caller: Caller) -> CommandAnswer:
        """Start a service that is stopped."""
        return await _commanded(services, name_or_id, "start", caller)

    @router.post("/stop/{name_or_id}", status_code=HTTPStatus.ACCEPTED)
    async def stop(name_or_id: str, caller: Caller) -> CommandAnswer:
        """Stop a service: its open calls end first."""
        return await _commanded(services, name_or_id, "stop", caller)

    @router.post("/restart/{name_or_id}", status_code=HTTPStatus.ACCEPTED)
    async def restart(name_or_id: str, caller: Caller) -> CommandAnswer:
        """Restart a service beside itself, without a failed call."""
        return await _commanded(services, name_or_id, "restart", caller)

    @router.post("/redeploy/{name_or_id}", status_code=HTTPStatus.ACCEPTED)
    async def redeploy(name_or_id: str, caller: Caller) -> CommandAnswer:
        """Build and start the newest commit anew, as if it had been pushed again."""
        return await _commanded(services, name_or_id, "redeploy", caller)

    @router.post("/rollback/{name_or_id}", status_code=HTTPStatus.ACCEPTED)
    async def rollback(name_or_id: str, caller: Caller, body: RollbackTo | None = None) -> CommandAnswer:
        """Let an earlier release serve again."""
        wanted = body.release_id if body else None
        return await _commanded(
            services, name_or_id, "rollback", caller, {"release_id": str(wanted)} if wanted else None
        )

    @router.put("/canary/{name_or_id}", status_code=HTTPStatus.NO_CONTENT, response_class=Response)
    async def canary(name_or_id: str, _: Caller, body: CanaryOf) -> None:
        """Let a commit, once it is pushed, have only some of the calls until it is promoted or rolled back."""
        await services.ask_canary(name_or_id, body.commit, body.percent)

    @router.post("/promote/{name_or_id}", status_code=HTTPStatus.ACCEPTED)
    async def promote(name_or_id: str, caller: Caller) -> CommandAnswer:
        """Let a service's canary have all the calls: it becomes the live release."""
        return await _commanded(services, name_or_id, "promote", caller)

    @router.post("/scale/{name_or_id}", status_code=HTTPStatus.ACCEPTED)
    async def scale(name_or_id: str, caller: Caller, body: ScaleTo) -> CommandAnswer:
        """Let a service have so many instances; they come, or go, one by one. Or let a rule do so."""
        return await _commanded(services, name_or_id, "scale", caller, body.model_dump(exclude_none=True))

    @router.delete("/{name_or_id}", status_code=HTTPStatus.ACCEPTED)
    async def remove(name_or_id: str, caller: Caller) -> RemovedAnswer:
        """Remove a service: it stops, and its releases go after a grace."""
        algorithm, operation, _ = await services.command(name_or_id, "remove", actor=caller.name)
        return RemovedAnswer(service_id=algorithm.id, operation_id=operation.id)


async def _commanded(
    services: Services, name_or_id: str, action: Action, caller: ApiKey, arguments: dict[str, Any] | None = None
) -> CommandAnswer:
    algorithm, operation, shown = await services.command(name_or_id, action, actor=caller.name, arguments=arguments)
    return CommandAnswer(service_id=algorithm.id, status=shown, operation_id=operation.id)


def _add_logs(router: APIRouter, services: Services, algorithms: Algorithms, relay: Relay, deployer: Peer) -> None:
    @router.get("/logs/{name_or_id}", response_class=Response)
    async def logs(  # one for each parameter
        name_or_id: str,
        _: Caller,
        lines: Annotated[int, Query(ge=0, le=10_000)] = 100,
        stream: Literal["stdout", "stderr"] | None = None,
        follow: bool = False,  # noqa: FBT001, FBT002  # a query parameter
        search: Annotated[str | None, Query(max_length=1000, description="only lines with this text")] = None,
        since: Annotated[datetime | None, Query(description="only lines written from then on")] = None,
        until: Annotated[datetime | None, Query(description="only lines written until then")] = None,
    ) -> Response:
        """Return the last lines of a service's log as JSON, by text and time; or follow it as server-sent events."""
        algorithm = await algorithms.find(name_or_id)
        query = {"lines": lines, "stream": stream, "follow": 1 if follow else None, "search": search or None}
        times = {name: at.isoformat() for name, at in (("since", since), ("until", until)) if at}
        path = f"/internal/services/{algorithm.name}/logs"
        return Relayed(relay, deployer, path, query={**query, **times}, timeout_s=FOLLOW_S if follow else 30)

    @router.get("/timeline/{name_or_id}", response_class=Response)
    async def timeline(
        name_or_id: str,
        _: Caller,
        limit: Annotated[int, Query(ge=1, le=500)] = 50,
        before: Annotated[int | None, Query(ge=1, description="`next` of the answer before")] = None,
    ) -> Response:
        """Tell what happened to a service, newest first: pushed, built, probed, switched, restarted, and by whom."""
        algorithm = await algorithms.find(name_or_id)
        path = f"/internal/services/{algorithm.id}/timeline"
        return Relayed(relay, deployer, path, query={"limit": limit, "before": before})

    @router.get("/metrics/{name_or_id}", response_class=Response)
    async def metrics(name_or_id: str, _: Caller) -> Response:
        """Tell what each instance of a service uses now: CPU in cores, memory, open files, processes, threads."""
        algorithm = await algorithms.find(name_or_id)
        return Relayed(relay, deployer, f"/internal/services/{algorithm.id}/metrics")

    @router.get("/build-log/{name_or_id}", response_class=PlainTextResponse)
    async def build_log(
        name_or_id: str,
        _: Caller,
        release_id: UUID | None = None,
        follow: bool = False,  # noqa: FBT001, FBT002  # a query parameter
        sse: bool = False,  # noqa: FBT001, FBT002  # a query parameter
        accept: Annotated[str, Header(include_in_schema=False)] = "",
        last_event_id: Annotated[int, Header(ge=0, description="go on behind this event")] = 0,
    ) -> Response:
        """Return the build's output of a release (the newest), readable while it runs.

        With `sse`, or to who accepts `text/event-stream`, each line is an event until the event `end` tells
        the release's `state` and `reason`; an interrupted reader goes on by `Last-Event-ID`.
        """
        algorithm = await algorithms.find(name_or_id)
        release = await services.release_for_log(algorithm, release_id)
        events = sse or "text/event-stream" in accept
        query = {"follow": 1 if follow or events else None} | ({"sse": 1, "after": last_event_id} if events else {})
        path = f"/internal/releases/{release}/build-log"
        return Relayed(relay, deployer, path, query=query, timeout_s=FOLLOW_S if follow or events else 30)
