"""The other services in memory, held to the same contract test as the real ones."""

from __future__ import annotations

from typing import TYPE_CHECKING
from uuid import UUID

from algodock_common.errors import Conflict, NotFound
from algodock_common.identifiers import uuid7
from algodock_gateway.clients.peers import LinkedRepository, MadeRepository

if TYPE_CHECKING:
    from collections.abc import Sequence

    from algodock_gateway.clients.peers import JsonObject, UploadedFile
    from algodock_gateway.domain.algorithm import Algorithm

__all__ = ["FakeDeployer", "FakeFleet", "FakeForge", "FakeRegistry", "FakeRunner"]


class FakeDeployer:
    """Services and releases in two dicts."""

    def __init__(self) -> None:
        """Know nothing."""
        self.known: dict[str, JsonObject] = {}
        self.known_releases: dict[str, list[JsonObject]] = {}
        self.asleep: set[str] = set()
        self.woken: list[str] = []
        self.canaries: dict[str, int] = {}

    async def services(self) -> list[JsonObject]:
        """Return every service."""
        return list(self.known.values())

    async def service(self, name: str) -> JsonObject:
        """Return one service."""
        if name not in self.known:
            msg = f"no service {name!r}"
            raise NotFound(msg)
        return self.known[name]

    async def wake(self, name: str) -> bool:
        """Note it; what sleeps is coming then."""
        await self.service(name)
        self.woken.append(name)
        return name in self.asleep

    async def ask_canary(self, name: str, commit: str, percent: int) -> None:
        """Note it."""
        await self.service(name)
        self.canaries[commit] = percent

    async def releases(self, name: str, *, commit: str | None = None) -> list[JsonObject]:
        """Return a service's releases, newest first."""
        await self.service(name)
        found = self.known_releases.get(name, [])
        return [release for release in found if commit in (None, release["commit"])]


class FakeFleet:
    """Groups in a dict; ``states`` is how operations stand, ``known`` which services there are."""

    def __init__(self) -> None:
        """Know nothing."""
        self.known: set[str] = set()
        self.states: dict[UUID, tuple[str, str]] = {}
        self._groups: dict[str, JsonObject] = {}

    async def standing(self, ids: Sequence[UUID]) -> dict[UUID, tuple[str, str]]:
        """Return how these operations stand."""
        return {one: self.states[one] for one in ids if one in self.states}

    async def groups(self) -> list[JsonObject]:
        """Return every group."""
        return [self._groups[name] for name in sorted(self._groups)]

    async def group(self, name: str) -> JsonObject:
        """Return one group."""
        if name not in self._groups:
            msg = f"there is no group {name!r}"
            raise NotFound(msg)
        return self._groups[name]

    async def make_group(self, name: str, services: Sequence[str], *, owner: str) -> JsonObject:
        """Make a group."""
        if name in self._groups:
            msg = f"there is a group {name!r} already"
            raise Conflict(msg)
        self._need(services)
        made = {"id": str(uuid7()), "name": name, "owner": owner, "services": sorted(services)}
        self._groups[name] = made | {"created_at": "2026-01-01T00:00:00Z"}
        return self._groups[name]

    async def change_group(self, name: str, change: JsonObject) -> JsonObject:
        """Change a group."""
        group = await self.group(name)
        self._need([*change.get("add", ()), *(change.get("services") or ())])
        services = set(change["services"] if change.get("services") is not None else group["services"])
        services = (services - set(change.get("remove", ()))) | set(change.get("add", ()))
        del self._groups[name]
        changed = group | {"name": change.get("name") or name, "services": sorted(services)}
        self._groups[changed["name"]] = changed
        return changed

    async def drop_group(self, name: str) -> None:
        """Remove a group."""
        await self.group(name)
        del self._groups[name]

    def _need(self, services: Sequence[str]) -> None:
        if missing := set(services) - self.known:
            msg = f"there is no service {missing}"
            raise NotFound(msg)


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
    """External services in a dict; ``instances`` are by id, and one alone is the last."""

    def __init__(self) -> None:
        """Know none."""
        self.instances: dict[UUID, JsonObject] = {}
        self.external: dict[str, str] = {}

    async def register(self, algorithm: Algorithm, *, url: str) -> JsonObject:
        """Register a service that runs elsewhere."""
        self.external[algorithm.name] = url
        return {"instance_id": str(uuid7()), "base_url": url, "state": "starting", "token": "token"}

    async def weigh(self, instance_id: UUID, weight: int, *, force: bool) -> JsonObject:
        """Give an instance another weight."""
        if instance_id not in self.instances:
            msg = f"no instance {instance_id}"
            raise NotFound(msg)
        if not weight and not force and len(self.instances) == 1:
            msg = "it is the last one"
            raise Conflict(msg)
        self.instances[instance_id]["weight"] = weight
        return self.instances[instance_id]
