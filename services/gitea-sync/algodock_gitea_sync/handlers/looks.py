"""The look: read the branch's head, compare it with the last one seen, make the bundle, say so in one transaction.

Whatever a webhook claims, however often and in whatever order it comes, the head decides.
"""

from __future__ import annotations

import asyncio
import contextlib
from typing import TYPE_CHECKING
from weakref import WeakValueDictionary

from prometheus_client import Histogram

from algodock_common.events import CodePushed
from algodock_common.observability import get_logger, span
from algodock_gitea_sync.clients.bundle import Bundle
from algodock_gitea_sync.clients.forge import HeadMoved
from algodock_gitea_sync.clients.git import GitFailed
from algodock_gitea_sync.clients.objects import Commit
from algodock_gitea_sync.domain.errors import (
    BundleFailed,
    ForgeFailed,
    ForgeUnavailable,
    RepositoryUnknown,
    UnsafeTree,
)
from algodock_gitea_sync.domain.repository import Look, Outcome
from algodock_gitea_sync.repository import deliveries, repositories

if TYPE_CHECKING:
    from pathlib import Path
    from uuid import UUID

    from algodock_common.database import Database
    from algodock_common.storage import ObjectStore
    from algodock_gitea_sync.clients.bundle import Bundler
    from algodock_gitea_sync.clients.forge import Forge
    from algodock_gitea_sync.domain.repository import Repository
    from algodock_gitea_sync.handlers.forges import Forges

__all__ = ["BUNDLES", "Looks", "bundle_key"]

log = get_logger()

BUNDLES = "bundles/"
BUNDLE_SECONDS = Histogram("algodock_bundle_seconds", "Time to make and store a commit's source bundle")
_TRIES = 5


def bundle_key(repository_id: UUID, commit: str) -> str:
    """Return where a commit's bundle lies in the object store."""
    return f"{BUNDLES}{repository_id}/{commit}.tar.gz"


class Looks:
    """Looks at repositories, one look at a time for each."""

    def __init__(self, db: Database, store: ObjectStore, forges: Forges, bundler: Bundler) -> None:
        """Take what a look needs."""
        self._db = db
        self._store = store
        self._forges = forges
        self._bundler = bundler
        self._locks: WeakValueDictionary[UUID, asyncio.Lock] = WeakValueDictionary()

    async def look(
        self, repository: Repository, *, pusher: str = "", delivery: UUID | None = None, again: bool = False
    ) -> Look:
        """Look at the branch that deploys; a head that was not seen yet goes out as ``code.pushed``.

        With ``again`` a head that was seen goes out once more. ``delivery`` is settled in the same
        transaction.

        Raises:
            ForgeUnavailable, Unavailable: forge, object store or database are away; the poller looks again.
            BundleFailed: this machine's disk is full, or the like; the poller looks again.
            ForgeFailed: the forge answered nonsense, or refuses the platform.
        """
        lock = self._locks.setdefault(repository.id, asyncio.Lock())
        async with lock:
            for _ in range(_TRIES):
                with contextlib.suppress(HeadMoved):
                    return await self._look(repository, pusher, delivery, again=again)
            msg = f"branch {repository.branch} of {repository.full_name} does not stand still"
            raise ForgeUnavailable(msg)

    async def _look(self, repository: Repository, pusher: str, delivery: UUID | None, *, again: bool) -> Look:
        async with self._db.read() as session:
            current = await repositories.by_id(session, repository.id)
        if current is None:
            msg = f"there is no repository {repository.full_name} any more"
            raise RepositoryUnknown(msg)
        forge = await self._forges.of(current)
        head = await forge.head(current)
        if head is None and (adopted := await self._adopt(current, forge)) is not None:
            current, head = adopted
        if head is None:
            return Look(Outcome.UNCHANGED, current.branch, detail=f"there is no branch {current.branch}")
        if head == current.last_seen_commit and not again:
            return Look(Outcome.UNCHANGED, current.branch, head, detail=f"{head[:10]} was seen already")
        with span("look", repository=current.full_name, commit=head):
            with span("bundle"), BUNDLE_SECONDS.time():
                bundle = await self._bundle(current, forge, head)
            return await self._say(current, forge, bundle, pusher, delivery, again=again)

    async def _adopt(self, repository: Repository, forge: Forge) -> tuple[Repository, str] | None:
        """Let a fresh repository's only branch be the one that deploys, whatever git calls it by default."""
        if repository.last_seen_commit is not None:
            return None
        branches = await forge.branches(repository)
        if len(branches) != 1:
            return None
        await self._forges.set_branch(repository, branches[0])
        async with self._db.transaction() as tx:
            await repositories.update(tx.session, repository.id, branch=branches[0])
            adopted = await repositories.by_id(tx.session, repository.id)
        if adopted is None or (head := await forge.head(adopted)) is None:
            return None
        log.info("branch_adopted", repository=repository.full_name, branch=branches[0])
        return adopted, head

    async def _bundle(self, repository: Repository, forge: Forge, commit: str) -> Bundle:
        """Make and store the bundle; one with a problem is not stored."""
        try:
            try:
                objects = await forge.objects(repository, commit)
            except UnsafeTree as error:
                return Bundle(Commit(commit, "", None, "", "", 0), None, problem=error.detail)
            bundle = await self._bundler.make(objects, commit)
        except GitFailed as error:
            msg = f"commit {commit} of {repository.full_name} cannot be read: {error}"
            raise ForgeFailed(msg) from error
        except OSError as error:
            msg = f"the source bundle of {commit} cannot be made: {error.strerror or error}"
            raise BundleFailed(msg) from error
        if bundle.path is not None:
            try:
                await self._store.put_file(bundle_key(repository.id, commit), bundle.path, "application/gzip")
            finally:
                await asyncio.to_thread(_remove, bundle.path)
        return bundle

    async def _say(  # everything that the event says
        self,
        repository: Repository,
        forge: Forge,
        bundle: Bundle,
        pusher: str,
        delivery: UUID | None,
        *,
        again: bool,
    ) -> Look:
        commit = bundle.commit
        async with self._db.transaction() as tx:
            locked = await repositories.by_id(tx.session, repository.id, lock=True)
            if locked is None or (locked.clone_url, locked.branch) != (repository.clone_url, repository.branch):
                raise HeadMoved
            # Under the lock, so that of two looks at once the one with the older head does not come last.
            if await forge.head(locked) != commit.id:
                raise HeadMoved
            if locked.last_seen_commit == commit.id and not again:
                return Look(Outcome.UNCHANGED, locked.branch, commit.id, commit.message)
            await repositories.saw(tx.session, locked.id, commit.id, bundle.problem)
            tx.emit(
                CodePushed(
                    repository_id=locked.id,
                    repository=locked.full_name,
                    algorithm_id=locked.algorithm_id,
                    algorithm=locked.algorithm,
                    ref=locked.ref,
                    commit=commit.id,
                    parent=commit.parent,
                    bundle_key=None if bundle.problem else bundle_key(locked.id, commit.id),
                    problem=bundle.problem,
                    pusher=pusher,
                    message=commit.message,
                )
            )
            await deliveries.settle_waiting(tx.session, locked.id, commit.id)
            if delivery is not None:
                await deliveries.settle(
                    tx.session, delivery, Outcome.PUSHED, detail=bundle.problem or "", commit=commit.id
                )
        log.info(
            "code_pushed",
            repository=repository.full_name,
            commit=commit.id,
            files=bundle.files,
            bytes=bundle.total_bytes,
            problem=bundle.problem,
        )
        return Look(Outcome.PUSHED, repository.branch, commit.id, commit.message, bundle.problem)


def _remove(path: Path) -> None:
    path.unlink(missing_ok=True)
