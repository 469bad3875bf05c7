"""Wires gitea-sync: settings, database, bus, object store, git, handlers, routes and clock."""

from __future__ import annotations

from contextlib import AsyncExitStack, asynccontextmanager
from typing import TYPE_CHECKING

from algodock_common.database import Database, migrate
from algodock_common.messaging import Bus
from algodock_common.storage import BucketKeeper, MinioObjectStore
from algodock_common.vault import Vault
from algodock_common.web import service_app
from algodock_gitea_sync.clients.backend import HttpBackend
from algodock_gitea_sync.clients.builtin import BuiltinForge
from algodock_gitea_sync.clients.bundle import Bundler
from algodock_gitea_sync.clients.git import Git
from algodock_gitea_sync.domain.tree import TreeLimits
from algodock_gitea_sync.handlers import Handlers
from algodock_gitea_sync.handlers.background import Background
from algodock_gitea_sync.handlers.cleaning import Cleaning
from algodock_gitea_sync.handlers.configs import Configs
from algodock_gitea_sync.handlers.forges import Forges
from algodock_gitea_sync.handlers.git import GitOverHttp, HookTargets
from algodock_gitea_sync.handlers.looks import Looks
from algodock_gitea_sync.handlers.polling import Poller
from algodock_gitea_sync.handlers.repositories import Repositories
from algodock_gitea_sync.handlers.uploads import Uploads
from algodock_gitea_sync.handlers.webhooks import Webhooks
from algodock_gitea_sync.repository.tables import MIGRATIONS, SCHEMA
from algodock_gitea_sync.routes import make_router
from algodock_gitea_sync.schedule import Schedule
from algodock_gitea_sync.subscribers import subscribe

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    import httpx
    from fastapi import FastAPI

    from algodock_gitea_sync.settings import Settings

__all__ = ["create_app"]


def create_app(settings: Settings, *, gitea_transport: httpx.AsyncBaseTransport | None = None) -> FastAPI:
    """Build the service; nothing connects before it is started. ``gitea_transport`` is for tests."""
    own, data, node_id = settings.git, settings.platform.data_dir, settings.platform.node_id
    bus = Bus(settings.kafka, settings.secrets, service="gitea-sync")
    db = Database(settings.database, schema=SCHEMA, source="/gitea-sync", bus=bus)
    store = MinioObjectStore(settings.objects)
    bucket = BucketKeeper(store)
    vault = Vault(settings.secrets, "gitea-sync/secrets")
    git = Git(data / "forge", own.max_push_bytes)
    builtin = BuiltinForge(git, data / "git", settings.peers.public_url, settings.peers.gateway_url.rstrip("/"))
    backend = HttpBackend(git, data / "git", max_push_bytes=own.max_push_bytes, idle_timeout_s=own.idle_timeout_s)
    forges = Forges(
        db, vault, builtin, mirrors=data / "mirrors", git=own, gitea=settings.gitea, transport=gitea_transport
    )
    limits = TreeLimits(own.max_files, own.max_file_bytes, own.max_tree_bytes)
    looks = Looks(db, store, forges, Bundler(git, data / "forge" / "bundles", limits))
    background = Background()
    repositories = Repositories(db, vault, forges, looks, node_id=node_id)
    handlers = Handlers(
        git=GitOverHttp(db, vault, builtin, backend, _hook_targets(settings)),
        webhooks=Webhooks(db, vault, looks, background, wait_s=own.webhook_wait_s),
        repositories=repositories,
        uploads=Uploads(repositories, forges, looks),
        configs=Configs(db, vault, forges),
    )
    schedule = Schedule(
        Poller(db, looks, node_id=node_id, interval_s=own.poll_interval_s),
        Cleaning(db, store, builtin, own.bundle_keep_s, own.delivery_keep_s),
        poll_interval_s=own.poll_interval_s,
    )
    subscribe(bus, db, repositories)

    @asynccontextmanager
    async def lifespan(_app: FastAPI) -> AsyncIterator[None]:
        await migrate(settings.database, schema=SCHEMA, migrations=MIGRATIONS)
        await git.prepare()
        async with AsyncExitStack() as ending:
            for end in (store.close, forges.close, db.stop, backend.close, background.close, bus.stop, bucket.stop):
                ending.push_async_callback(end)
            ending.push_async_callback(schedule.stop)
            await bus.start()
            await db.start()
            await bucket.start()
            schedule.start()
            yield

    checks = {"postgres": db.check, "kafka": bus.check, "objects": store.ping, "git": git.check}
    app = service_app("gitea-sync", settings, lifespan=lifespan, checks=checks)
    app.include_router(make_router(handlers, own))
    return app


def _hook_targets(settings: Settings) -> HookTargets:
    """Return where the hook turns to: it runs on this machine, beside this process."""
    host = "127.0.0.1" if settings.http.host in {"0.0.0.0", "::", ""} else settings.http.host  # noqa: S104  # compared, not bound
    return HookTargets(
        webhook_url=f"http://{host}:{settings.http.port}/webhook",
        deployer_url=settings.peers.deployer_url.rstrip("/"),
        public_url=settings.peers.public_url,
        service_token=settings.secrets.service_token(),
        wait_s=settings.git.hook_wait_s,
        poll_s=settings.git.poll_interval_s,
    )
