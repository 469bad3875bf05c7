"""Wires the registry: settings, database, bus, handlers, routes and clock."""

from __future__ import annotations

from contextlib import asynccontextmanager
from datetime import timedelta
from typing import TYPE_CHECKING

from algodock_common.database import Database, migrate
from algodock_common.messaging import Bus
from algodock_common.web import InternalClient, service_app
from algodock_registry.clients import HttpDeployer, HttpProbe, SocketBindTest
from algodock_registry.domain import InstanceTokens
from algodock_registry.handlers import BeatBook, Context, Repair
from algodock_registry.routes import make_router
from algodock_registry.schedule import Schedule
from algodock_registry.settings import Settings
from algodock_registry.subscribers import subscribe

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from fastapi import FastAPI

__all__ = ["create_app"]

SCHEMA = "registry"
MIGRATIONS = "algodock_registry.migrations"


def create_app(settings: Settings) -> FastAPI:
    """Build the registry; nothing connects before it is started."""
    own = settings.registry
    bus = Bus(settings.kafka, settings.secrets, service="registry")
    database = Database(settings.database, schema=SCHEMA, source="/registry", bus=bus)
    deployer = InternalClient(settings.peers.deployer_url, settings.secrets)
    probe = HttpProbe(timeout_s=own.probe_timeout_s, parallel=own.health_check_parallel)
    context = Context(
        database=database,
        node_id=settings.platform.node_id,
        port_range=own.port_range,
        own_addresses=settings.own_addresses(),
        interval=own.interval,
        tokens=InstanceTokens(settings.secrets.derive("instance-token")),
        bind_test=SocketBindTest(),
        probe=probe,
        deployer=HttpDeployer(deployer),
    )
    beats = BeatBook(context)
    repair = Repair(
        context,
        keep_gone=timedelta(seconds=own.registry_keep_gone),
        forget_silent=timedelta(seconds=own.registry_forget_silent),
    )
    schedule = Schedule(context, beats, repair, repair_every_s=own.registry_repair_interval)
    subscribe(bus, context)

    @asynccontextmanager
    async def lifespan(_app: FastAPI) -> AsyncIterator[None]:
        await migrate(settings.database, schema=SCHEMA, migrations=MIGRATIONS)
        await bus.start()
        await database.start()
        schedule.start()
        try:
            yield
        finally:
            await bus.stop()
            await schedule.stop()
            await database.stop()
            await probe.close()
            await deployer.close()

    app = service_app("registry", settings, lifespan=lifespan, checks={"postgres": database.check, "kafka": bus.check})
    app.include_router(make_router(context, beats))
    return app
