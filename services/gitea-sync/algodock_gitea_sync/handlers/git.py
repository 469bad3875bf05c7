"""Git over smart HTTP: which repository, whether it may be written to, and what its hook needs to know."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from algodock_common.errors import BadRequest, Forbidden, NotFound
from algodock_gitea_sync.domain.errors import RepositoryArchived, RepositoryMoved, RepositoryUnknown
from algodock_gitea_sync.domain.names import check_label
from algodock_gitea_sync.domain.repository import ForgeKind
from algodock_gitea_sync.repository import repositories

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from algodock_common.database import Database
    from algodock_common.vault import Vault
    from algodock_gitea_sync.clients.backend import GitAnswer, GitCall, HttpBackend
    from algodock_gitea_sync.clients.builtin import BuiltinForge
    from algodock_gitea_sync.domain.repository import Repository

__all__ = ["GitOverHttp", "HookTargets", "checked_call"]

SERVICES = ("git-upload-pack", "git-receive-pack")
_ENCODINGS = {"", "identity", "gzip", "x-gzip"}


@dataclass(frozen=True, slots=True)
class HookTargets:
    """What the hook after a push speaks to, and for how many seconds it shows the deploy."""

    webhook_url: str
    deployer_url: str
    public_url: str
    service_token: str
    wait_s: float
    poll_s: float


def checked_call(call: GitCall) -> GitCall:
    """Return ``call`` if it is one of the four that smart HTTP knows.

    Raises:
        InvalidName: owner or name are no DNS labels.
        Forbidden: a service that is not offered. NotFound: another path (the "dumb" protocol's, for one).
        BadRequest: the wrong content type, or an encoding that git does not know.
    """
    owner, _, name = call.full_name.partition("/")
    check_label(owner, "owner")
    check_label(name, "repository")
    if call.method == "GET" and call.path == "info/refs":
        if call.service not in SERVICES:
            raise Forbidden(f"{call.service[:60]!r} is not offered; this server speaks git's smart HTTP protocol only")
        return call
    if call.method != "POST" or call.path not in SERVICES:
        raise NotFound("git's smart HTTP protocol has no such path")
    if call.content_type != f"application/x-{call.path}-request":
        raise BadRequest(f"{call.path} takes application/x-{call.path}-request")
    if call.content_encoding not in _ENCODINGS:
        raise BadRequest(f"content encoding {call.content_encoding[:60]!r} is not known; gzip is")
    return replace(call, service=call.path)


class GitOverHttp:
    """Lets git's clients at the built-in forge."""

    def __init__(
        self, db: Database, vault: Vault, builtin: BuiltinForge, backend: HttpBackend, targets: HookTargets
    ) -> None:
        """Take what a call needs."""
        self._db = db
        self._vault = vault
        self._builtin = builtin
        self._backend = backend
        self._targets = targets

    async def serve(self, call: GitCall, body: AsyncIterator[bytes]) -> GitAnswer:
        """Serve one call.

        Raises:
            RepositoryUnknown, RepositoryMoved, RepositoryArchived, PushTooLarge and those of ``checked_call``.
        """
        call = checked_call(call)
        repository, sealed = await self._find(call.full_name)
        if repository.archived and call.service == "git-receive-pack":
            msg = f"the algorithm {repository.algorithm} is archived; nothing is pushed to it"
            raise RepositoryArchived(msg)
        await self._builtin.ensure(repository.full_name, repository.branch)
        if call.writes:
            secret = self._vault.open(sealed, repository.id)
            call = replace(call, hook=self._hook(repository, secret, call.user))
        return await self._backend.serve(call, body)

    async def _find(self, full_name: str) -> tuple[Repository, bytes]:
        async with self._db.read() as session:
            found = await repositories.by_full_name(session, full_name)
            here = next(((row, sealed) for row, sealed in found if row.forge is ForgeKind.BUILTIN), None)
            if here is not None:
                return here
            moved = await repositories.by_algorithm(session, full_name.partition("/")[2])
        if moved is not None:
            msg = f"{full_name} is not here any more: {moved.algorithm} deploys from {moved.clone_url}"
            raise RepositoryMoved(msg)
        msg = f"there is no repository {full_name}"
        raise RepositoryUnknown(msg)

    def _hook(self, repository: Repository, secret: str, user: str) -> dict[str, str]:
        to, name = self._targets, repository.algorithm
        return {
            "ALGODOCK_HOOK_WEBHOOK": to.webhook_url,
            "ALGODOCK_HOOK_SECRET": secret,
            "ALGODOCK_HOOK_REPOSITORY": repository.full_name,
            "ALGODOCK_HOOK_PUSHER": user,
            "ALGODOCK_HOOK_TOKEN": to.service_token,
            "ALGODOCK_HOOK_RELEASES": f"{to.deployer_url}/internal/services/{name}/releases",
            "ALGODOCK_HOOK_URL": f"{to.public_url}/ai/{name}/predict",
            "ALGODOCK_HOOK_LOOK": f"{to.public_url}/api/v1/services/build-log/{name}",
            "ALGODOCK_HOOK_WAIT_S": str(to.wait_s),
            "ALGODOCK_HOOK_POLL_S": f"{to.poll_s:g}",
        }
