"""A webhook becomes a recorded delivery, and a look at the branch that deploys."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

from prometheus_client import Counter

from algodock_common.errors import AlgoDockError
from algodock_common.observability import get_logger
from algodock_gitea_sync.domain.errors import WebhookRefused
from algodock_gitea_sync.domain.repository import Look, Outcome
from algodock_gitea_sync.domain.webhook import Delivery, is_signed
from algodock_gitea_sync.repository import deliveries, repositories

if TYPE_CHECKING:
    from collections.abc import Mapping
    from uuid import UUID

    from algodock_common.database import Database
    from algodock_common.vault import Vault
    from algodock_gitea_sync.domain.repository import Repository
    from algodock_gitea_sync.handlers.background import Background
    from algodock_gitea_sync.handlers.looks import Looks

__all__ = ["Webhooks"]

log = get_logger()
DELIVERIES = Counter("algodock_webhook_deliveries_total", "Webhooks by what became of them", ["flavour", "outcome"])


class Webhooks:
    """Receives webhooks of every kind of forge."""

    def __init__(self, db: Database, vault: Vault, looks: Looks, background: Background, *, wait_s: float) -> None:
        """A sender waits ``wait_s`` seconds for the outcome; the look goes on without it."""
        self._db = db
        self._vault = vault
        self._looks = looks
        self._background = background
        self._wait_s = wait_s

    async def receive(self, headers: Mapping[str, str], body: bytes) -> tuple[Repository, Look]:
        """Verify a webhook, record it, and look; ``headers`` have lower-case names.

        Raises:
            WebhookRefused: it is not signed with the secret of a repository known here.
            ForgeUnavailable, ForgeFailed, Unavailable: the look failed; the delivery says so.
        """
        delivery = Delivery.parse(headers, body)
        repository = await self._verified(delivery, body)
        if delivery is None or repository is None:
            DELIVERIES.labels("unknown" if delivery is None else delivery.flavour, Outcome.REFUSED).inc()
            raise WebhookRefused
        async with self._db.transaction() as tx:
            row = await deliveries.receive(tx.session, repository.id, delivery)
        task = self._background.start(self._settle(repository, delivery, row), "look")
        done, _ = await asyncio.wait([task], timeout=self._wait_s)
        if done:
            return repository, task.result()
        return repository, Look(
            Outcome.RECEIVED, repository.branch, delivery.after or None, detail="recorded; it is being looked at"
        )

    async def _verified(self, delivery: Delivery | None, body: bytes) -> Repository | None:
        """Return the repository whose secret signed the body. An unknown one costs the same time as a wrong secret."""
        found = []
        if delivery is not None:
            async with self._db.read() as session:
                found = list(await repositories.by_full_name(session, delivery.full_name))
        matching = None
        for repository, sealed in found:
            secret = self._vault.open(sealed, repository.id).encode()
            if is_signed(delivery, body, secret):
                matching = repository
        if not found:
            is_signed(delivery, body, None)
        if matching is None and delivery is not None and found:
            # after the answer, which must not tell by its time that the repository is known
            self._background.start(self._refuse(found[0][0].id, delivery), "refused-delivery")
        return matching

    async def _refuse(self, repository_id: UUID, delivery: Delivery) -> None:
        async with self._db.transaction() as tx:
            await deliveries.refuse(tx.session, repository_id, delivery)

    async def _settle(self, repository: Repository, delivery: Delivery, row: UUID) -> Look:
        try:
            look = await self._judge(repository, delivery, row)
        except AlgoDockError as error:
            DELIVERIES.labels(delivery.flavour, Outcome.FAILED).inc()
            async with self._db.transaction() as tx:
                await deliveries.settle(tx.session, row, Outcome.FAILED, detail=error.detail)
            raise
        DELIVERIES.labels(delivery.flavour, look.outcome).inc()
        if look.outcome is not Outcome.PUSHED:  # that one was settled together with its event
            async with self._db.transaction() as tx:
                await deliveries.settle(tx.session, row, look.outcome, detail=look.detail, commit=look.commit)
        return look

    async def _judge(self, repository: Repository, delivery: Delivery, row: UUID) -> Look:
        branch = repository.branch
        if repository.archived:
            return Look(Outcome.IGNORED, branch, detail=f"algorithm {repository.algorithm} is archived")
        pushed, reason = delivery.pushed_branch()
        if pushed is None:
            return Look(Outcome.IGNORED, branch, detail=reason)
        pusher = delivery.pusher if pushed == branch or repository.last_seen_commit is None else ""
        look = await self._looks.look(repository, pusher=pusher, delivery=row)
        if pushed not in {branch, look.branch} and look.outcome is Outcome.UNCHANGED:
            detail = f"branch {pushed} is recorded and does not deploy; {look.branch} does"
            return Look(Outcome.OTHER_BRANCH, look.branch, delivery.after, detail=detail)
        return look
