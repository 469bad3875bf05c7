"""The other services in memory, held to the same contract test as the real ones."""

from __future__ import annotations

from typing import TYPE_CHECKING
from uuid import UUID

from algodock_common.errors import NotFound
from algodock_common.identifiers import uuid7
from algodock_gateway.clients.peers import LinkedRepository, MadeRepository

if TYPE_CHECKING:
    from collections.abc import Sequence

    from algodock_gateway.clients.peers import JsonObject, UploadedFile
    from algodock_gateway.domain.algorithm import Algorithm

__all__ = ["FakeDeployer", "FakeForge", "FakeRegistry", "FakeRunner"]


class FakeDeployer:
    """Services and releases in two dicts."""

    def __init__(self) -> None:
        """Know nothing."""
        self.known: dict[str, JsonObject] = {}
        self.known_releases: dict[str, list[JsonObject]] = {}

    async def services(self) -> list[JsonObject]:
        """Return every service."""
        return list(self.known.values())

    async def service(self, name: str) -> JsonObject:
        """Return one service."""
        if name not in self.known:
            msg = f"no service {name!r}"
            raise NotFound(msg)
        return self.known[name]

    async def releases(self, name: str, *, commit: str | None = None) -> list[JsonObject]:
        """Return a service's releases, newest first."""
        await self.service(name)
        found = self.known_releases.get(name, [])
        return [release for release in found if commit in (None, release["commit"])]


class FakeForge:
    """Repositories in a dict; ``head`` is what every linked branch shows."""

    def __init__(self) -> None:
        """Have no repositories."""
        self.repositories: dict[str, MadeRepository] = {}
        self.head: str | None = "a" * 40
        self.uploads: list[tuple[str, dict[str, bytes]]] = []

    async def ensure(self, algorithm: Algorithm) -> MadeRepository:
        """Return the algorithm's repository, made if there is none."""
        full_name = f"algodock/{algorithm.name}"
        made = MadeRepository(full_name, f"http://127.0.0.1/git/{full_name}.git")
        return self.repositories.setdefault(algorithm.name, made)

    async def link(self, algorithm: Algorithm, *, repo_url: str, branch: str) -> LinkedRepository:
        """Let a repository's branch deploy as the algorithm."""
        full_name = "/".join(repo_url.removesuffix(".git").split("/")[-2:])
        self.repositories[algorithm.name] = MadeRepository(full_name, repo_url)
        return LinkedRepository(full_name, self.head if branch else None, "")

    async def upload(self, name: str, files: Sequence[UploadedFile], *, identity: str, message: str) -> JsonObject:
        """Keep the files."""
        assert identity is not None  # noqa: S101  # the real one refuses an upload without it
        self.uploads.append((name, {file.path: file.content.read() for file in files}))
        return {"success": True, "commit": self.head, "files": [file.path for file in files], "message": message}


class FakeRunner:
    """Tasks in a dict."""

    def __init__(self) -> None:
        """Have no tasks."""
        self.tasks: dict[UUID, JsonObject] = {}

    async def task(self, task_id: UUID, *, identity: str, place: bool = False) -> JsonObject:
        """Return one task."""
        del place  # nobody waits here
        if not identity or task_id not in self.tasks:
            msg = f"no task {task_id}"
            raise NotFound(msg)
        return self.tasks[task_id]


class FakeRegistry:
    """External services in a dict."""

    def __init__(self) -> None:
        """Know none."""
        self.external: dict[str, str] = {}

    async def register(self, algorithm: Algorithm, *, url: str) -> JsonObject:
        """Register a service that runs elsewhere."""
        self.external[algorithm.name] = url
        return {"instance_id": str(uuid7()), "base_url": url, "state": "starting", "token": "token"}
