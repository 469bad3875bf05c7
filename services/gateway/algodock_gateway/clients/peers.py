"""The other services as the gateway asks them: each a Protocol, and its real one over internal HTTP."""

from __future__ import annotations

from typing import IO, TYPE_CHECKING, Any, NamedTuple, Protocol, TypeAlias
from uuid import UUID

from algodock_gateway.clients.answers import list_in, object_in

if TYPE_CHECKING:
    from collections.abc import Sequence

    from algodock_common.web import InternalClient
    from algodock_gateway.domain.algorithm import Algorithm

__all__ = [
    "Deployer",
    "Forge",
    "HttpDeployer",
    "HttpForge",
    "HttpRegistry",
    "HttpRunner",
    "JsonObject",
    "LinkedRepository",
    "MadeRepository",
    "Registry",
    "Runner",
    "TaskHistory",
    "UploadedFile",
]

JsonObject: TypeAlias = dict[str, Any]
"""What another service says of its own things; passed on, not understood."""

UPLOAD_S = 120.0
LINK_S = 60.0


class MadeRepository(NamedTuple):
    """A repository that pushes go to."""

    full_name: str
    clone_url: str


class LinkedRepository(NamedTuple):
    """A repository whose branch deploys, and the commit that was seen there (None: the branch is empty)."""

    full_name: str
    commit: str | None
    problem: str


class UploadedFile(NamedTuple):
    """One file of an upload; ``path`` is relative to the repository's root."""

    path: str
    content: IO[bytes]
    content_type: str


class Deployer(Protocol):
    """Services and their releases."""

    async def services(self) -> list[JsonObject]:
        """Return every service."""
        ...

    async def service(self, name: str) -> JsonObject:
        """Return one service.

        Raises:
            NotFound: the deployer knows none of this name.
        """
        ...

    async def wake(self, name: str) -> bool:
        """Ask for an instance of a service that sleeps; return whether one is coming.

        Raises:
            NotFound: the deployer knows none of this name.
        """
        ...

    async def releases(self, name: str, *, commit: str | None = None) -> list[JsonObject]:
        """Return a service's releases, newest first.

        Raises:
            NotFound: the deployer knows no service of this name.
        """
        ...

    async def ask_canary(self, name: str, commit: str, percent: int) -> None:
        """Let a commit, once it is pushed, have only so many per cent of the calls.

        Raises:
            NotFound: the deployer knows no service of this name.
        """
        ...


class Forge(Protocol):
    """Repositories."""

    async def ensure(self, algorithm: Algorithm) -> MadeRepository:
        """Return the algorithm's repository, made if there is none."""
        ...

    async def link(self, algorithm: Algorithm, *, repo_url: str, branch: str) -> LinkedRepository:
        """Let a repository's branch deploy as the algorithm."""
        ...

    async def upload(self, name: str, files: Sequence[UploadedFile], *, identity: str, message: str) -> JsonObject:
        """Make one commit of files; ``identity`` is the signed header's value."""
        ...


class Runner(Protocol):
    """Tasks."""

    async def task(self, task_id: UUID, *, identity: str, place: bool = False) -> JsonObject:
        """Return one task that the identity may see; with ``place`` also where in the queue it waits.

        Raises:
            NotFound: there is none.
        """
        ...


class TaskHistory(Protocol):
    """What happens to tasks."""

    async def task(self, task_id: UUID, *, identity: str, place: bool = False) -> JsonObject:
        """As ``Runner``."""
        ...

    async def timeline(self, task_id: UUID, *, identity: str, after: int) -> JsonObject:
        """Return a task's steps behind number ``after``, with ``next`` where there are more.

        Raises:
            NotFound: there is no such task that the identity may see.
        """
        ...

    async def standing(self, ids: Sequence[UUID]) -> dict[UUID, str]:
        """Return how each of these tasks stands: a word that changes with every step."""
        ...


class Registry(Protocol):
    """Instances."""

    async def register(self, algorithm: Algorithm, *, url: str) -> JsonObject:
        """Register a service that runs elsewhere; the answer has its token."""
        ...

    async def weigh(self, instance_id: UUID, weight: int, *, force: bool) -> JsonObject:
        """Give an instance another weight and return it.

        Raises:
            NotFound: it is not there.
            Conflict: it is the last one that takes calls, and ``force`` was not said.
        """
        ...


class HttpDeployer:
    """The deployer's internal HTTP."""

    def __init__(self, client: InternalClient) -> None:
        """Keep the client; nothing is sent."""
        self._client = client

    async def services(self) -> list[JsonObject]:
        """Return every service."""
        return list_in(await self._client.get("/internal/services"), "services", "deployer")

    async def service(self, name: str) -> JsonObject:
        """Return one service."""
        return object_in(await self._client.get(f"/internal/services/{name}"), "deployer")

    async def wake(self, name: str) -> bool:
        """Ask the deployer."""
        answer = object_in(await self._client.post(f"/internal/services/{name}/wake"), "deployer")
        return bool(answer["coming"])

    async def releases(self, name: str, *, commit: str | None = None) -> list[JsonObject]:
        """Return a service's releases, newest first."""
        answer = await self._client.get(f"/internal/services/{name}/releases", params={"commit": commit})
        return list_in(answer, "releases", "deployer")

    async def ask_canary(self, name: str, commit: str, percent: int) -> None:
        """Put ``/internal/services/{name}/canary``."""
        await self._client.put(f"/internal/services/{name}/canary", json={"commit": commit, "percent": percent})


class HttpForge:
    """gitea-sync's internal HTTP."""

    def __init__(self, client: InternalClient) -> None:
        """Keep the client; nothing is sent."""
        self._client = client

    async def ensure(self, algorithm: Algorithm) -> MadeRepository:
        """Return the algorithm's repository, made if there is none."""
        answer = object_in(await self._client.post("/internal/repositories", json=_named(algorithm)), "gitea-sync")
        return MadeRepository(str(answer["full_name"]), str(answer["clone_url"]))

    async def link(self, algorithm: Algorithm, *, repo_url: str, branch: str) -> LinkedRepository:
        """Let a repository's branch deploy as the algorithm."""
        body = {**_named(algorithm), "repo_url": repo_url, "branch": branch}
        answer = object_in(
            await self._client.post("/internal/repositories/link", json=body, timeout_s=LINK_S), "gitea-sync"
        )
        return LinkedRepository(str(answer["full_name"]), answer.get("commit"), str(answer.get("problem") or ""))

    async def upload(self, name: str, files: Sequence[UploadedFile], *, identity: str, message: str) -> JsonObject:
        """Make one commit of files."""
        parts = [("files", (file.path, file.content, file.content_type)) for file in files]
        answer = await self._client.post(
            f"/internal/repositories/{name}/upload",
            files=[*parts, ("message", (None, message))],
            identity=identity,
            timeout_s=UPLOAD_S,
        )
        return object_in(answer, "gitea-sync")


class HttpRunner:
    """The runner's internal HTTP."""

    def __init__(self, client: InternalClient) -> None:
        """Keep the client; nothing is sent."""
        self._client = client

    async def task(self, task_id: UUID, *, identity: str, place: bool = False) -> JsonObject:
        """Return one task that the identity may see."""
        params = {"place": 1 if place else None}
        answer = await self._client.get(f"/internal/tasks/{task_id}", identity=identity, params=params)
        return object_in(answer, "runner")

    async def timeline(self, task_id: UUID, *, identity: str, after: int) -> JsonObject:
        """Return a task's steps behind number ``after``."""
        path = f"/internal/tasks/{task_id}/timeline"
        return object_in(await self._client.get(path, identity=identity, params={"after": after}), "runner")

    async def standing(self, ids: Sequence[UUID]) -> dict[UUID, str]:
        """Return how each of these tasks stands."""
        answer = await self._client.post("/internal/tasks/standing", json={"ids": [str(id_) for id_ in ids]})
        found = object_in(answer, "runner").get("standing", {})
        return {UUID(id_): str(word) for id_, word in found.items()}


class HttpRegistry:
    """The registry's internal HTTP."""

    def __init__(self, client: InternalClient) -> None:
        """Keep the client; nothing is sent."""
        self._client = client

    async def register(self, algorithm: Algorithm, *, url: str) -> JsonObject:
        """Register a service that runs elsewhere."""
        body = {"name": algorithm.name, "algorithm_id": str(algorithm.id), "url": url}
        return object_in(await self._client.post("/internal/external", json=body), "registry")

    async def weigh(self, instance_id: UUID, weight: int, *, force: bool) -> JsonObject:
        """Give an instance another weight."""
        path = f"/internal/instances/{instance_id}/weight"
        return object_in(await self._client.put(path, json={"weight": weight, "force": force}), "registry")


def _named(algorithm: Algorithm) -> JsonObject:
    return {"algorithm_id": str(algorithm.id), "algorithm": algorithm.name, "owner": algorithm.owner}
