"""``/api/v1``: the API that programs speak, by noun; thin, each route calls a handler or relays."""

from __future__ import annotations

from typing import TYPE_CHECKING

from fastapi import APIRouter

from algodock_gateway.routes.api import (
    algorithms,
    batches,
    callbacks,
    dead_letters,
    deploying,
    groups,
    keys,
    registry,
    secrets,
    services,
    submitting,
    task_events,
    tasks,
)
from algodock_gateway.routes.api.answers import PROBLEMS
from algodock_gateway.routes.relay import Peer

if TYPE_CHECKING:
    from algodock_common.settings import PeerSettings
    from algodock_gateway.clients import Registry
    from algodock_gateway.clients.fleet import Fleet
    from algodock_gateway.handlers.algorithms import Algorithms
    from algodock_gateway.handlers.batches import Batches
    from algodock_gateway.handlers.callback_secrets import CallbackSecrets
    from algodock_gateway.handlers.deploying import Deploying
    from algodock_gateway.handlers.identity import Stamps
    from algodock_gateway.handlers.services import Services
    from algodock_gateway.handlers.task_events import TaskEvents
    from algodock_gateway.handlers.tasks import Tasks
    from algodock_gateway.routes.relay import Relay

__all__ = ["Peers", "make_api"]


class Peers:
    """Where the services that routes relay to listen."""

    def __init__(self, settings: PeerSettings) -> None:
        """Take the base URLs."""
        self.deployer = Peer("The deployer", settings.deployer_url)
        self.gitea_sync = Peer("gitea-sync", settings.gitea_sync_url)
        self.registry = Peer("The registry", settings.registry_url)
        self.runner = Peer("The runner", settings.runner_url)


def make_api(  # noqa: PLR0913  # keyword-only handlers
    *,
    algorithms_handler: Algorithms,
    services_handler: Services,
    batches_handler: Batches,
    deploying_handler: Deploying,
    tasks_handler: Tasks,
    task_events_handler: TaskEvents,
    callback_secrets: CallbackSecrets,
    registry_client: Registry,
    fleet: Fleet,
    stamps: Stamps,
    relay: Relay,
    peers: Peers,
    url: str,
    max_upload_bytes: int,
) -> APIRouter:
    """Return every route of the API."""
    router = APIRouter(prefix="/api/v1", responses=PROBLEMS)
    router.include_router(algorithms.make_router(algorithms_handler))
    router.include_router(services.make_router(services_handler, algorithms_handler, relay, peers.deployer))
    router.include_router(secrets.make_router(algorithms_handler, stamps, relay, peers.deployer))
    router.include_router(batches.make_router(batches_handler))
    router.include_router(groups.make_router(fleet))
    router.include_router(deploying.make_router(deploying_handler, stamps, url=url, max_upload_bytes=max_upload_bytes))
    router.include_router(submitting.make_router(stamps, relay, peers.runner))
    router.include_router(tasks.make_router(tasks_handler, stamps, relay, peers.runner))
    router.include_router(task_events.make_router(task_events_handler, stamps, relay, peers.runner))
    router.include_router(callbacks.make_router(stamps, relay, peers.runner))
    router.include_router(dead_letters.make_router(stamps, relay, peers.runner))
    router.include_router(keys.make_router(callback_secrets))
    router.include_router(registry.make_router(algorithms_handler, registry_client, relay, peers.registry, url=url))
    return router
