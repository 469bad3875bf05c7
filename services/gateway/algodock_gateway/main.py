"""Wires the gateway: settings, database, bus, routes of calls, handlers, raw inlets and the API beside them."""

from __future__ import annotations

from contextlib import AsyncExitStack, asynccontextmanager
from typing import TYPE_CHECKING

from redis.asyncio import Redis

from algodock_common.capacity import Capacity, LoadTeller, RedisSlots
from algodock_common.database import Database, migrate
from algodock_common.messaging import Bus
from algodock_common.routing import RoutingFeed, RoutingTable
from algodock_common.signals import Signals
from algodock_common.upstream import Pool
from algodock_common.web import InternalClient, service_app, when_stopping
from algodock_gateway.clients import HttpDeployer, HttpForge, HttpRegistry, HttpRunner
from algodock_gateway.clients.fleet import HttpFleet
from algodock_gateway.clients.live import RedisLive
from algodock_gateway.handlers.algorithms import Algorithms
from algodock_gateway.handlers.batches import Batches
from algodock_gateway.handlers.call_book import CallBook
from algodock_gateway.handlers.callback_secrets import CallbackSecrets
from algodock_gateway.handlers.calls import CallDesk
from algodock_gateway.handlers.credentials import Credentials, SecretBox
from algodock_gateway.handlers.deploying import Deploying
from algodock_gateway.handlers.directory import Directory
from algodock_gateway.handlers.following import Following
from algodock_gateway.handlers.grpc_calls import GrpcCalls
from algodock_gateway.handlers.identity import Stamps
from algodock_gateway.handlers.key_ring import KeyRing
from algodock_gateway.handlers.load import CallLoad
from algodock_gateway.handlers.services import Services
from algodock_gateway.handlers.task_events import TaskEvents
from algodock_gateway.handlers.task_watch import Watch
from algodock_gateway.handlers.tasks import Tasks
from algodock_gateway.handlers.waiters import Waiters
from algodock_gateway.handlers.waking import Waking
from algodock_gateway.repository import AlgorithmStore, CallStore, KeyStore
from algodock_gateway.routes.ai import AiInlet
from algodock_gateway.routes.api import Peers, make_api
from algodock_gateway.routes.documents import make_documents
from algodock_gateway.routes.express import ExpressLane
from algodock_gateway.routes.gatekeeper import Gatekeeper
from algodock_gateway.routes.inlets import Edge, GitInlet, PassedInlet, SubmitInlet
from algodock_gateway.routes.internal import make_internal
from algodock_gateway.routes.prefer import PreferInlet
from algodock_gateway.routes.relay import Relay
from algodock_gateway.subscribers import subscribe

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from fastapi import FastAPI

    from algodock_gateway.settings import Settings

__all__ = ["create_app"]

SCHEMA = "gateway"
MIGRATIONS = "algodock_gateway.migrations"
TITLE = "AlgoDock"
VERSION = "0.1.0"


class _Clients:
    """Connections to the other services' internal HTTP."""

    def __init__(self, settings: Settings) -> None:
        peers, secrets = settings.peers, settings.secrets
        self.deployer = InternalClient(peers.deployer_url, secrets)
        self.forge = InternalClient(peers.gitea_sync_url, secrets)
        self.registry = InternalClient(peers.registry_url, secrets)
        self.runner = InternalClient(peers.runner_url, secrets)
        self.fleet = HttpFleet(self.deployer)

    async def close(self) -> None:
        for client in (self.deployer, self.forge, self.registry, self.runner):
            await client.close()


def create_app(settings: Settings) -> Edge:
    """Build the gateway; nothing connects before it is started."""
    url = settings.peers.public_url
    bus = Bus(settings.kafka, settings.secrets, service="gateway")
    database = Database(settings.database, schema=SCHEMA, source="/gateway", bus=bus)
    redis = Redis.from_url(settings.redis.url.get_secret_value())
    clients = _Clients(settings)

    pool, table = Pool(), RoutingTable()
    router_id = f"gateway:{settings.platform.node_id}:{settings.http.port}"
    feed = RoutingFeed(bus, clients.registry, table, redis, router_id)
    keys = KeyRing(KeyStore(database))
    directory = Directory(AlgorithmStore(database))
    book = CallBook(CallStore(database), keep_days=settings.gateway.keep_calls_days)
    capacity = Capacity(RedisSlots(settings.redis), process=router_id)
    deployer, forge = HttpDeployer(clients.deployer), HttpForge(clients.forge)
    desk = CallDesk(
        table, feed, directory, pool, capacity, Waking(table, deployer, wait_s=settings.gateway.wake_wait_s)
    )
    load = LoadTeller(bus, CallLoad(desk, book, router_id).look, source="/gateway")

    releases, finished, moves = Waiters(), Waiters(), Waiters()
    algorithms = Algorithms(database, forge, directory)
    services = Services(database, algorithms, deployer, table, url=url)
    deploying, runner = Deploying(algorithms, services, forge, releases), HttpRunner(clients.runner)
    events = TaskEvents(runner, RedisLive(redis), Watch(runner, moves), most=settings.gateway.task_watchers)
    tasks = Tasks(runner, finished, events.live)
    box, file = SecretBox(settings.secrets.derive("callback-secrets")), settings.platform.data_dir / "credentials.json"
    credentials = Credentials(database, keys, box, file=file, url=settings.peers.gateway_url)
    callback_secrets = CallbackSecrets(database, box, file=file, grace_s=settings.gateway.callback_secret_grace_s)
    stamps, signals = Stamps(settings.identity_private_key), Signals(settings.redis)
    relay = Relay(pool, settings.secrets.service_token(), proxies=settings.gateway.proxies)
    subscribe(bus, signals, Following(database, releases=releases, tasks=finished, moves=moves), capacity)

    peers = Peers(settings.peers)

    @asynccontextmanager
    async def lifespan(_app: FastAPI) -> AsyncIterator[None]:
        async with AsyncExitStack() as stack:
            for close in (clients.close, redis.aclose, database.stop, pool.close):
                stack.push_async_callback(close)
            await migrate(settings.database, schema=SCHEMA, migrations=MIGRATIONS)
            await credentials.ensure_first()
            await callback_secrets.heal_file()
            for own in (keys, book):
                await own.start()
                stack.push_async_callback(own.stop)
            await directory.load()
            for part in (signals, capacity, bus, events.watch, load):
                await part.start()
                stack.push_async_callback(part.stop)
            await database.start()
            await feed.start()
            stack.push_async_callback(feed.stop)
            stack.enter_context(when_stopping(events.stop))
            yield

    app = service_app(
        "gateway",
        settings,
        lifespan=lifespan,
        checks={"postgres": database.check, "kafka": bus.check, "redis": redis.ping, "registry": feed.check},
        title=TITLE,
        version=VERSION,
        description="From a git push of algorithm code to a running, monitored, callable API.",
    )
    app.include_router(
        make_documents(title=TITLE, version=VERSION, bootstrap=settings.kafka.bootstrap, serving=lambda: feed.filled)
    )
    app.include_router(
        make_internal(credentials, callback_secrets, algorithms, services, GrpcCalls(keys, directory, desk, book))
    )
    app.include_router(
        make_api(
            algorithms_handler=algorithms,
            services_handler=services,
            batches_handler=Batches(database, services, clients.fleet),
            deploying_handler=deploying,
            tasks_handler=tasks,
            task_events_handler=events,
            callback_secrets=callback_secrets,
            registry_client=HttpRegistry(clients.registry),
            fleet=clients.fleet,
            stamps=stamps,
            relay=relay,
            peers=peers,
            url=url,
            max_upload_bytes=settings.gateway.max_upload_bytes,
        )
    )
    app.add_middleware(Gatekeeper, keys=keys)
    return Edge(
        ai=ExpressLane(
            AiInlet(
                keys,
                desk,
                book,
                prefer=PreferInlet(keys, stamps, relay, peers.runner, tasks),
                proxies=settings.gateway.proxies,
            )
        ),
        git=GitInlet(keys, stamps, algorithms, relay, peers.gitea_sync),
        submit=SubmitInlet(keys, stamps, relay, peers.runner),
        passed=(PassedInlet.webhooks(relay, peers.gitea_sync), PassedInlet.heartbeats(relay, peers.registry)),
        api=app,
    )
