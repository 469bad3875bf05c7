"""An instance comes and goes: it gets a port that nobody else has, an id and a token."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import timedelta
from typing import TYPE_CHECKING, Literal

from algodock_common.identifiers import uuid7
from algodock_common.observability import current_traceparent
from algodock_registry.domain import ExternalAddress, PortRangeExhausted, PortTaken
from algodock_registry.handlers.routing import change_routing
from algodock_registry.repository import Instance, Instances, Ports

if TYPE_CHECKING:
    from uuid import UUID

    from algodock_common.events import Limits
    from algodock_registry.handlers.context import Context

__all__ = ["ExternalService", "NewInstance", "Registered", "register", "register_external", "remove"]

BLOCKED_FOR = timedelta(minutes=10)
ELSEWHERE = "elsewhere"
"""The node of services that no deployer of ours started."""


@dataclass(frozen=True, slots=True)
class NewInstance:
    """What the deployer is about to start."""

    algorithm_id: UUID
    algorithm: str
    release_id: UUID
    commit: str
    node_id: str
    host: str
    index: int
    pinned_port: int | None
    limits: Limits
    health_path: str
    sends_heartbeats: bool
    protocol: Literal["http", "grpc"] = "http"


@dataclass(frozen=True, slots=True)
class ExternalService:
    """A service that runs elsewhere and wants to be served like any other."""

    name: str
    algorithm_id: UUID
    url: str
    health_path: str = "/health"


@dataclass(frozen=True, slots=True)
class Registered:
    """An instance's address, and the token for its beats."""

    instance: Instance
    token: str = field(repr=False)


async def register(context: Context, new: NewInstance) -> Registered:
    """Lease a port and write the instance, ``starting``.

    Raises:
        PortTaken: the pinned port is leased, in use, or the platform's own.
        PortRangeExhausted: no port of the range is free.
        InvalidInput: the host is no address of this machine.
    """
    instance_id = uuid7()
    async with context.turns, context.database.transaction() as tx:
        instances, ports = Instances(tx.session), Ports(tx.session)
        cursor = await ports.lock(new.node_id)
        port = await _pinned(context, ports, new) if new.pinned_port else await _free(context, ports, new, cursor)
        epoch = await instances.raise_epoch(1)
        instance = Instance(
            id=instance_id,
            algorithm_id=new.algorithm_id,
            algorithm=new.algorithm,
            release_id=new.release_id,
            commit=new.commit,
            ordinal=new.index,
            node_id=new.node_id,
            host=new.host,
            port=port,
            base_url=f"{new.protocol}://{f'[{new.host}]' if ':' in new.host else new.host}:{port}",
            health_path=new.health_path,
            sends_heartbeats=new.sends_heartbeats,
            weight=1,
            limits=new.limits.model_dump(),
            state="starting",
            epoch=epoch,
            trace=current_traceparent(),
        )
        await instances.add(instance)
        await ports.lease(new.node_id, port, instance_id, pinned=new.pinned_port is not None)
        tx.emit(instance.as_event())
    return Registered(instance, context.tokens.issue(instance_id))


async def _pinned(context: Context, ports: Ports, new: NewInstance) -> int:
    port = new.pinned_port or 0
    if port in {own for _, own in context.own_addresses}:
        raise PortTaken(f"port {port} is one of the platform's own")
    if port in await ports.leased(new.node_id):
        raise PortTaken(f"port {port} of {new.node_id} is leased to another instance")
    if new.node_id == context.node_id and not context.bind_test.free(new.host, port, lingering=True):
        raise PortTaken(f"port {port} of {new.node_id} is in use by another program")
    return port


async def _free(context: Context, ports: Ports, new: NewInstance, cursor: int | None) -> int:
    taken = await ports.unavailable(new.node_id) | {port for _, port in context.own_addresses}
    here = new.node_id == context.node_id  # another machine's ports cannot be tried from here
    for port in context.port_range.after(cursor, taken):
        if not here or context.bind_test.free(new.host, port, lingering=False):
            return port
    raise PortRangeExhausted(f"every port of {context.port_range} on {new.node_id} is in use", retry_after=10)


async def register_external(context: Context, service: ExternalService) -> Registered:
    """Register a service by its URL; again with the same URL answers the same instance.

    It is probed first: healthy, it is ``ready`` at once; else ``silent`` until it shows life.

    Raises:
        InvalidInput: the URL leads nowhere that calls may go.
    """
    address = ExternalAddress.parse(service.url, own=context.own_addresses)
    well = await context.probe.ailment(address.base_url, service.health_path) is None
    async with context.database.transaction() as tx:
        instances = Instances(tx.session)
        await instances.lock_algorithm(service.name)
        known = await instances.elsewhere(service.name, address.base_url)
        if known is not None:
            if well and known.state != "ready":
                await change_routing(tx, [(known, "ready")], look_in=context.interval)
            return Registered(known, context.tokens.issue(known.id))
        instance = _external(service, address)
        await instances.add(instance)
        await change_routing(tx, [(instance, "ready" if well else "silent")], look_in=context.interval)
    return Registered(instance, context.tokens.issue(instance.id))


def _external(service: ExternalService, address: ExternalAddress) -> Instance:
    return Instance(
        id=uuid7(),
        algorithm_id=service.algorithm_id,
        algorithm=service.name,
        release_id=None,
        commit="",
        ordinal=0,
        node_id=ELSEWHERE,
        host=address.host,
        port=address.port,
        base_url=address.base_url,
        health_path=service.health_path,
        sends_heartbeats=False,
        weight=1,
        limits={},
        state="starting",
        epoch=0,
    )


async def remove(context: Context, instance_id: UUID, *, blocked: bool = False) -> None:
    """Make an instance ``gone`` and free its port; nothing happens when it is gone, or was never there.

    With ``blocked`` a program outside the platform uses the port: nobody gets it for ``BLOCKED_FOR``.
    """
    async with context.database.transaction() as tx:
        for instance in (await Instances(tx.session).lock([instance_id])).values():
            if instance.state != "gone":
                if blocked:
                    await Ports(tx.session).block(instance.node_id, instance.port, BLOCKED_FOR)
                await change_routing(tx, [(instance, "gone")], look_in=context.interval)
