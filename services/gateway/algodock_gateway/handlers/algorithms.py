"""Algorithms: made by a person, a first push, an upload or a registration, always idempotently."""

from __future__ import annotations

import re
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from algodock_common.errors import InvalidInput
from algodock_common.events import AlgorithmChanged
from algodock_common.identifiers import DNS_LABEL, uuid7
from algodock_gateway.domain import AlgorithmUnknown, NotTheOwner
from algodock_gateway.domain.algorithm import Algorithm
from algodock_gateway.repository import Algorithms as AlgorithmRows

if TYPE_CHECKING:
    from collections.abc import Mapping

    from algodock_common.database import Database
    from algodock_gateway.clients import Forge
    from algodock_gateway.domain.keys import ApiKey
    from algodock_gateway.handlers.directory import Directory

__all__ = ["Algorithms", "name_from"]

ADMIN = "admin"

_RESERVED = frozenset({"config", "logs"})
"""Folders of the services' root that are AlgoDock's own."""


class Algorithms:
    """Makes and finds algorithms."""

    def __init__(self, database: Database, forge: Forge, directory: Directory) -> None:
        """Join what is needed."""
        self._database = database
        self._forge = forge
        self._directory = directory

    async def find(self, name_or_id: str) -> Algorithm:
        """Return the algorithm of a name or UUID.

        Raises:
            AlgorithmUnknown: there is none.
        """
        found = await self._directory.find(name_or_id.lower())
        if found is None:
            raise AlgorithmUnknown(name_or_id)
        return found

    async def owned(self, name_or_id: str, caller: ApiKey) -> Algorithm:
        """Return the algorithm of a name or UUID, which is the caller's own or anybody's for an administrator.

        Raises:
            AlgorithmUnknown: there is none.
            NotTheOwner: somebody else made it.
        """
        algorithm = await self.find(name_or_id)
        if algorithm.owner != caller.name and ADMIN not in caller.roles:
            raise NotTheOwner(algorithm.name)
        return algorithm

    async def all(self) -> list[Algorithm]:
        """Return every algorithm, by name."""
        async with self._database.read() as session:
            return await AlgorithmRows(session).all()

    async def ensure(self, name: str, *, owner: str) -> tuple[Algorithm, bool]:
        """Return the algorithm of this name, and whether it was made now.

        Raises:
            InvalidInput: the name is no DNS label, or reserved.
        """
        if DNS_LABEL.fullmatch(name) is None or name in _RESERVED:
            msg = (
                f"{name[:100]!r} cannot name an algorithm: 1 to 63 lower-case letters, digits and inner hyphens, "
                f"and none of {', '.join(sorted(_RESERVED))}."
            )
            raise InvalidInput(msg)
        made = False
        async with self._database.transaction() as tx:
            rows = AlgorithmRows(tx.session)
            found = await rows.by_name(name)
            if found is None:
                new = Algorithm(uuid7(), name, "created", owner, "")
                made = await rows.add(new)
                found = new if made else await rows.by_name(name)
            assert found is not None  # noqa: S101  # either it is ours, or whoever was faster has committed it
            if made:
                tx.emit(_event(found))
        self._directory.add(found)
        return found, made

    async def with_repository(self, name: str, *, owner: str) -> tuple[Algorithm, bool]:
        """Return the algorithm with a repository to push to, and whether the algorithm was made now.

        A crash or an absent gitea-sync in between leaves an algorithm without one: the same call mends it.

        Raises:
            InvalidInput: the name is no DNS label.
            Unavailable: gitea-sync cannot be reached.
        """
        algorithm, made = await self.ensure(name, owner=owner)
        if not algorithm.clone_url:
            repository = await self._forge.ensure(algorithm)
            algorithm = await self._cloned_from(algorithm, repository.clone_url)
        return algorithm, made

    async def limit(self, name_or_id: str, said: Mapping[str, Any], *, caller: ApiKey) -> Algorithm:
        """Set the limits that ``said`` names (None: none any more) and tell everybody; the others stay.

        Raises:
            AlgorithmUnknown: there is no such algorithm.
            NotTheOwner: somebody else made it, and the caller is no administrator.
        """
        algorithm = await self.owned(name_or_id, caller)
        async with self._database.transaction() as tx:
            changed = await AlgorithmRows(tx.session).limit(algorithm.id, said)
            if changed is None:
                raise AlgorithmUnknown(name_or_id)
            tx.emit(_event(changed))
        self._directory.add(changed)
        return changed

    async def _cloned_from(self, algorithm: Algorithm, clone_url: str) -> Algorithm:
        async with self._database.transaction() as tx:
            await AlgorithmRows(tx.session).set_clone_url(algorithm.id, clone_url)
        known = replace(algorithm, clone_url=clone_url)
        self._directory.add(known)
        return known


def name_from(repo_url: str) -> str:
    """Return the name that a repository's URL suggests: its last part as a DNS label."""
    last = repo_url.rstrip("/").rpartition("/")[2].removesuffix(".git").lower()
    return re.sub(r"[^a-z0-9]+", "-", last).strip("-")[:63].strip("-")


def _event(algorithm: Algorithm) -> AlgorithmChanged:
    return AlgorithmChanged(
        algorithm_id=algorithm.id,
        algorithm=algorithm.name,
        state=algorithm.state,
        owner=algorithm.owner,
        limits=algorithm.limits,
    )
