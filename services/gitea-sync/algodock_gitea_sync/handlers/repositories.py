"""An algorithm gets its repository: a new one, or one that is there already and is linked."""

from __future__ import annotations

import secrets
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from algodock_common.errors import Conflict
from algodock_common.identifiers import uuid7
from algodock_common.observability import get_logger
from algodock_gitea_sync.domain.errors import BranchMissing, ForgeFailed, RepositoryUnknown
from algodock_gitea_sync.domain.names import check_branch, check_label
from algodock_gitea_sync.domain.repository import ForgeKind, Look, Repository
from algodock_gitea_sync.repository import deliveries, repositories

if TYPE_CHECKING:
    from collections.abc import Sequence
    from typing import Any
    from uuid import UUID

    from algodock_common.database import Database, Transaction
    from algodock_common.events import AlgorithmChanged, Event
    from algodock_common.vault import Vault
    from algodock_gitea_sync.handlers.forges import Forges
    from algodock_gitea_sync.handlers.looks import Looks

__all__ = ["Linked", "Repositories"]

log = get_logger()


@dataclass(frozen=True, slots=True)
class Linked:
    """A linked repository and what the look at it saw; ``watched`` says whether its forge sends webhooks."""

    repository: Repository
    look: Look
    watched: bool


class Repositories:
    """Makes, links, finds and archives repositories."""

    def __init__(self, db: Database, vault: Vault, forges: Forges, looks: Looks, *, node_id: str) -> None:
        """``node_id`` is the machine whose disk holds the built-in repositories made here."""
        self._db = db
        self._vault = vault
        self._forges = forges
        self._looks = looks
        self._node_id = node_id

    async def ensure(self, algorithm_id: UUID, algorithm: str, owner: str) -> Repository:
        """Return the algorithm's repository; made if there is none.

        Raises:
            InvalidName: the name is no DNS label. Conflict: another algorithm has it.
            ForgeUnavailable, ForgeFailed: the forge cannot make it.
        """
        check_label(algorithm, "algorithm")
        async with self._db.transaction() as tx:
            found = await self._take(tx, algorithm_id, algorithm)
            if found is not None:
                if found.forge is ForgeKind.BUILTIN:
                    await self._forges.builtin.ensure(found.full_name, found.branch)
                return found
            kind, forge = await self._forges.for_new()
            created = await forge.create(algorithm)
            repository = Repository(
                id=uuid7(),
                algorithm_id=algorithm_id,
                algorithm=algorithm,
                forge=kind,
                full_name=created.full_name,
                clone_url=created.clone_url,
                branch=created.branch,
            )
            secret = secrets.token_urlsafe(32)
            await self._add(tx, repository, owner, secret)
            await forge.watch(repository, secret)
        log.info("repository_made", repository=repository.full_name, forge=kind)
        return repository

    async def link(self, algorithm_id: UUID, algorithm: str, owner: str, repo_url: str, branch: str) -> Linked:
        """Have ``branch`` of the repository at ``repo_url`` deploy as the algorithm, now and on every push.

        Raises:
            InvalidName: URL, branch or name is refused. BranchMissing: there is no such branch.
            Conflict: the name, or the built-in repository, is another algorithm's.
            ForgeUnavailable, ForgeFailed: the repository cannot be read.
        """
        check_label(algorithm, "algorithm")
        check_branch(branch)
        kind, full_name, clone_url = await self._forges.kind_of(repo_url)
        forge = await self._forges.by_kind(kind)
        async with self._db.transaction() as tx:
            found = await self._take(tx, algorithm_id, algorithm)
            wanted = Repository(
                id=found.id if found else uuid7(),
                algorithm_id=algorithm_id,
                algorithm=algorithm,
                forge=kind,
                full_name=full_name,
                clone_url=clone_url,
                branch=branch,
            )
            await self._not_anothers(tx, wanted)
            if await forge.head(wanted) is None:
                there = ", ".join((await forge.branches(wanted))[:20]) or "none"
                msg = f"{clone_url} has no branch {branch!r}; it has: {there}"
                raise BranchMissing(msg)
            secret = secrets.token_urlsafe(32)
            if found is None:
                await self._add(tx, wanted, owner, secret)
            elif found.clone_url != wanted.clone_url:
                await self._relink(tx, wanted, secret)
            else:
                secret = await self._secret(tx, found)
                await repositories.update(tx.session, wanted.id, branch=branch)
            await self._forges.set_branch(wanted, branch)
            watched = await self._watch(wanted, secret)
        look = await self._looks.look(wanted, pusher=owner, again=True)
        return Linked(replace(wanted, last_seen_commit=look.commit, last_problem=look.problem), look, watched)

    async def get(self, algorithm: str) -> Repository:
        """Return the repository of an algorithm.

        Raises:
            RepositoryUnknown: it has none.
        """
        async with self._db.read() as session:
            found = await repositories.by_algorithm(session, algorithm)
        if found is None:
            msg = f"no algorithm {algorithm!r} has a repository"
            raise RepositoryUnknown(msg)
        return found

    async def deliveries(self, algorithm: str, limit: int) -> Sequence[dict[str, Any]]:
        """Return the newest webhook deliveries of an algorithm's repository, with what became of each.

        Raises:
            RepositoryUnknown: the algorithm has no repository.
        """
        repository = await self.get(algorithm)
        async with self._db.read() as session:
            return await deliveries.newest(session, repository.id, limit)

    async def follow(self, tx: Transaction, event: Event[AlgorithmChanged]) -> None:
        """Archive the repository with its algorithm, or bring it back."""
        found = await repositories.by_algorithm(tx.session, event.data.algorithm, lock=True)
        archived = event.data.state == "archived"
        if found is not None and found.algorithm_id == event.data.algorithm_id and found.archived != archived:
            await repositories.update(tx.session, found.id, archived=archived)

    async def _take(self, tx: Transaction, algorithm_id: UUID, algorithm: str) -> Repository | None:
        """Return the row of the algorithm, locked; an archived algorithm's goes to the new one of its name."""
        await repositories.insert_lock(tx.session, algorithm)
        found = await repositories.by_algorithm(tx.session, algorithm, lock=True)
        if found is None or (found.algorithm_id == algorithm_id and not found.archived):
            return found
        if found.algorithm_id != algorithm_id and not found.archived:
            msg = f"the repository {found.full_name} belongs to another algorithm of the name {algorithm!r}"
            raise Conflict(msg)
        await repositories.update(tx.session, found.id, algorithm_id=algorithm_id, archived=False)
        return replace(found, algorithm_id=algorithm_id, archived=False)

    async def _not_anothers(self, tx: Transaction, wanted: Repository) -> None:
        """Refuse a built-in repository that is another algorithm's, or that is not there."""
        if wanted.forge is not ForgeKind.BUILTIN:
            return
        for other, _ in await repositories.by_full_name(tx.session, wanted.full_name):
            if other.forge is ForgeKind.BUILTIN and other.id != wanted.id:
                msg = f"{wanted.full_name} belongs to the algorithm {other.algorithm!r}"
                raise Conflict(msg)
        if not self._forges.builtin.folder(wanted.full_name).is_dir():
            msg = f"there is no repository {wanted.full_name} here"
            raise RepositoryUnknown(msg)

    async def _add(self, tx: Transaction, repository: Repository, owner: str, secret: str) -> None:
        sealed = self._vault.seal(secret, repository.id)
        await repositories.add(tx.session, repository, owner=owner, node_id=self._node_id, secret=sealed)

    async def _relink(self, tx: Transaction, wanted: Repository, secret: str) -> None:
        """Point the row at another repository: with a secret of its own, and nothing of it seen."""
        await repositories.update(
            tx.session,
            wanted.id,
            forge=wanted.forge.value,
            node_id=self._node_id if wanted.forge is ForgeKind.BUILTIN else None,
            full_name=wanted.full_name,
            clone_url=wanted.clone_url,
            branch=wanted.branch,
            secret=self._vault.seal(secret, wanted.id),
            last_seen_commit=None,
            last_seen_at=None,
            last_problem=None,
        )

    async def _secret(self, tx: Transaction, repository: Repository) -> str:
        sealed = await repositories.secret_of(tx.session, repository.id)
        if sealed is None:
            msg = f"there is no repository {repository.full_name} any more"
            raise RepositoryUnknown(msg)
        return self._vault.open(sealed, repository.id)

    async def _watch(self, repository: Repository, secret: str) -> bool:
        """Have webhooks sent; where the platform may not add any, the poller alone looks."""
        if repository.forge is ForgeKind.GIT:
            return False
        forge = await self._forges.of(repository)
        try:
            await forge.watch(repository, secret)
        except ForgeFailed as error:
            log.warning("webhook_not_added", repository=repository.full_name, error=error.detail)
            return False
        return True
