"""Wires the deployer: settings, database, bus, the outside, handlers, routes and clock."""

from __future__ import annotations

from contextlib import asynccontextmanager
from functools import partial
from typing import TYPE_CHECKING

from redis.asyncio import Redis

from algodock_common.database import Database, migrate
from algodock_common.messaging import Bus
from algodock_common.observability import get_logger
from algodock_common.storage import MinioObjectStore
from algodock_common.vault import Vault
from algodock_common.web import InternalClient, service_app
from algodock_deployer.clients.cgroups import Cgroups
from algodock_deployer.clients.confinement import KernelConfinement
from algodock_deployer.clients.container_heartbeats import ContainerHeartbeats
from algodock_deployer.clients.devices import NvidiaSmi
from algodock_deployer.clients.docker import DockerDriver
from algodock_deployer.clients.docker_engine import SOCKET, DockerImages, Engine
from algodock_deployer.clients.downloads import Downloads
from algodock_deployer.clients.drivers import ChosenDrivers
from algodock_deployer.clients.environments import UvEnvironments
from algodock_deployer.clients.local import LocalDriver
from algodock_deployer.clients.model_cache import ModelCache
from algodock_deployer.clients.model_hubs import Hubs, modelscope_endpoint
from algodock_deployer.clients.nginx import Nginx
from algodock_deployer.clients.node import NodeEnvironments
from algodock_deployer.clients.probes import HttpProber
from algodock_deployer.clients.registry import HttpRegistry
from algodock_deployer.clients.routers import RedisRouters, RedisSeat
from algodock_deployer.clients.sandbox import Sandbox
from algodock_deployer.clients.sdk import SdkPackage
from algodock_deployer.clients.supervisor import SupervisorDriver
from algodock_deployer.clients.tools import run_tool
from algodock_deployer.clients.users_supervisor import UsersSupervisorDriver
from algodock_deployer.handlers import Context, Tuning
from algodock_deployer.handlers.edge import Edge, NoEdge, grpc_names
from algodock_deployer.routes import make_router
from algodock_deployer.schedule import Schedule
from algodock_deployer.settings import Settings
from algodock_deployer.subscribers import subscribe

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Mapping, Sequence

    from fastapi import FastAPI

    from algodock_deployer.clients.processes import ProcessDriver

__all__ = ["create_app"]

SCHEMA = "deployer"
MIGRATIONS = "algodock_deployer.migrations"


def create_app(settings: Settings) -> FastAPI:
    """Build the deployer; nothing connects before it is started."""
    own, folders = settings.deployer, settings.folders()
    bus = Bus(settings.kafka, settings.secrets, service="deployer")
    database = Database(settings.database, schema=SCHEMA, source="/deployer", bus=bus)
    store = MinioObjectStore(settings.objects)
    registry = InternalClient(settings.peers.registry_url, settings.secrets)
    redis = Redis.from_url(settings.redis.url.get_secret_value(), socket_timeout=2, socket_connect_timeout=2)
    prober = HttpProber()
    sandbox = Sandbox(own.deployer_sandbox_uid, wanted=own.deployer_sandbox)
    confinement = KernelConfinement(Cgroups(folders.digest, wanted=own.deployer_cgroups), sandbox)
    environments = UvEnvironments(
        folders.environments,
        uv=settings.uv_path(),
        store=store,
        sandbox=sandbox,
        sdk=SdkPackage.installed(),
        min_free_bytes=own.deployer_min_free_bytes,
        timeout_s=own.deployer_build_timeout,
        wheels=own.deployer_wheels and own.deployer_wheels.absolute(),
        offline=own.deployer_offline,
    )
    hubs = own.hf_endpoint, modelscope_endpoint(own.modelscope_domain)
    downloads = Downloads(hubs, min_free_bytes=own.deployer_min_free_bytes)
    models = ModelCache(
        folders.models,
        store=store,
        downloads=downloads,
        hubs=Hubs(downloads, hf=hubs[0], modelscope=hubs[1]),
        min_free_bytes=own.deployer_min_free_bytes,
    )
    modes, docker = settings.modes(), settings.docker_url()
    engine = Engine(docker or f"unix://{SOCKET}")
    heartbeat_url = f"{settings.peers.registry_url}/heartbeat"
    heartbeats = ContainerHeartbeats(folders.algorithms / "docker", engine, heartbeat_url)
    processes = ChosenDrivers(
        _drivers(settings, DockerDriver(folders.algorithms / "docker", engine, heartbeats)), modes
    )
    context = Context(
        database=database,
        store=store,
        processes=processes,
        environments=environments,
        node=NodeEnvironments(environments),
        models=models,
        vault=Vault(settings.secrets, "deployer/secrets"),
        devices=NvidiaSmi(settings.nvidia_smi_path()),
        prober=prober,
        registry=HttpRegistry(registry),
        routers=RedisRouters(redis),
        sandbox=sandbox,
        tools=run_tool,
        folders=folders,
        node_id=settings.platform.node_id,
        modes=modes,
        images=DockerImages(engine, base=own.deployer_docker_image, timeout_s=own.deployer_build_timeout)
        if docker
        else None,
        tuning=Tuning(
            parallel=own.deployer_parallel,
            start_timeout_s=own.deployer_start_timeout,
            build_timeout_s=own.deployer_build_timeout,
            samples_s=own.deployer_samples_timeout,
            watch_s=own.deployer_rollback_window,
            keep_releases=own.deployer_keep_releases,
            max_source_bytes=own.deployer_max_source_bytes,
            docker_image=own.deployer_docker_image,
            min_free_bytes=own.deployer_min_free_bytes,
            heartbeat_url=heartbeat_url,
            max_memory=settings.max_memory(),
            max_processes=own.deployer_max_processes,
            max_file_size=own.deployer_max_file_bytes,
        ),
        confinement=confinement,
    )
    schedule = Schedule(
        context, reconcile_every_s=own.deployer_reconcile_interval, watch_every_s=own.health_check_interval
    )
    subscribe(bus, context)
    edge = _edge(settings, context, redis)

    @asynccontextmanager
    async def lifespan(_app: FastAPI) -> AsyncIterator[None]:
        _say_sandbox(sandbox_notes())
        await migrate(settings.database, schema=SCHEMA, migrations=MIGRATIONS)
        await bus.start()
        await database.start()
        schedule.start()
        await edge.start()
        try:
            yield
        finally:
            await bus.stop()
            await edge.stop()
            await schedule.stop()
            await database.stop()
            await prober.close()
            await registry.close()
            await processes.close()
            await redis.aclose()

    def sandbox_notes() -> list[str]:
        # The environments' note says why strangers' code runs as the platform's own user, where it does.
        own_user = environments.sandbox_note()
        return [*([f"programs run as the platform's user: {own_user}"] if own_user else []), *confinement.notes()]

    async def sandbox_state() -> str:
        return "; ".join(sandbox_notes())

    checks = {
        "postgres": database.check,
        "kafka": bus.check,
        "objects": store.ping,
        "processes": processes.look_all,
        "sandbox": sandbox_state,
        "edge": edge.state,
        "container-heartbeats": heartbeats.state,
    }
    app = service_app("deployer", settings, lifespan=lifespan, checks=checks)
    app.include_router(make_router(context))
    return app


def _drivers(settings: Settings, docker: DockerDriver) -> Mapping[str, ProcessDriver]:
    """Return one driver for each mode, and for programs of a mode's earlier driver that are still there."""
    folders, url = settings.folders(), settings.deployer.supervisor_url
    programs = folders.algorithms / "programs" if url else settings.programs_folder()
    own = SupervisorDriver(folders.algorithms, programs, folders.logs / "supervisord.log")
    drivers: dict[str, ProcessDriver] = {
        "supervisor": own,
        "local": LocalDriver(folders.algorithms / "local"),
        "docker": docker,
    }
    if url:
        theirs = UsersSupervisorDriver(folders.algorithms, settings.programs_folder(), url.get_secret_value())
        drivers |= {"supervisor": theirs, "supervisor of our own": own}
    return drivers


def _edge(settings: Settings, context: Context, redis: Redis) -> Edge | NoEdge:
    """Return who keeps the nginx in front, or sees to it that there is none."""
    site = settings.site()
    server, seat = Nginx(site.folder, settings.nginx_path()), RedisSeat(redis, f"edge-{settings.platform.node_id}")
    if settings.edge.edge == "off":
        return NoEdge(server)
    return Edge(context.registry, partial(grpc_names, context), site, server, seat, context.edge_bell)


def _say_sandbox(notes: Sequence[str]) -> None:
    """Say at the start what of the sandbox cannot be had here."""
    log = get_logger()
    if notes:
        log.warning("sandbox_incomplete", notes=notes)
    else:
        log.info("sandbox_on")
