"""Deploying by request: from a forge's repository, or from uploaded files; then waiting for the release."""

from __future__ import annotations

import asyncio
import contextlib
from typing import TYPE_CHECKING, Final

from algodock_common.errors import Unavailable
from algodock_gateway.handlers.algorithms import name_from

if TYPE_CHECKING:
    from collections.abc import Sequence

    from algodock_gateway.clients import Forge, JsonObject
    from algodock_gateway.clients.peers import UploadedFile
    from algodock_gateway.domain.algorithm import Algorithm
    from algodock_gateway.handlers.algorithms import Algorithms
    from algodock_gateway.handlers.services import Services
    from algodock_gateway.handlers.waiters import Waiters

__all__ = ["Deploying"]

ENDED: Final = frozenset({"canary", "live", "draining", "kept", "failed", "superseded"})
FIRST_LOOK_S: Final = 2.0
"""How long an answer that does not wait is held for the release's id."""
RELOOK_S: Final = 0.5


class Deploying:
    """Links and uploads, and the release that comes of them."""

    def __init__(self, algorithms: Algorithms, services: Services, forge: Forge, changes: Waiters) -> None:
        """``changes`` wakes by an algorithm's name when a release of it changed."""
        self._algorithms = algorithms
        self._services = services
        self._forge = forge
        self._changes = changes

    async def from_repository(
        self, *, algorithm_id: str | None, name: str | None, repo_url: str, branch: str, owner: str
    ) -> tuple[Algorithm, str | None, str]:
        """Let a repository's branch deploy as an algorithm; return it, the commit and what is wrong with it.

        Raises:
            AlgorithmUnknown: an id was given that nobody has.
            InvalidInput: a name that is no DNS label, or a URL that may not be cloned from.
        """
        known = algorithm_id or name or name_from(repo_url)
        if _is_uuid(known):
            algorithm = await self._algorithms.find(known)
        else:
            algorithm, _ = await self._algorithms.ensure(known, owner=owner)
        linked = await self._forge.link(algorithm, repo_url=repo_url, branch=branch)
        return algorithm, linked.commit, linked.problem

    async def upload(
        self, name_or_id: str, files: Sequence[UploadedFile], *, owner: str, identity: str, message: str
    ) -> tuple[Algorithm, JsonObject]:
        """Make one commit of files in the algorithm's repository, both made if there are none.

        Raises:
            AlgorithmUnknown: an id was given that nobody has.
            InvalidInput: a name that is no DNS label, or a file that may not be.
        """
        if _is_uuid(name_or_id):
            name_or_id = (await self._algorithms.find(name_or_id)).name
        algorithm, _ = await self._algorithms.with_repository(name_or_id, owner=owner)
        return algorithm, await self._forge.upload(algorithm.name, files, identity=identity, message=message)

    async def release_of(self, algorithm: Algorithm, commit: str, *, wait_s: float) -> JsonObject | None:
        """Return the commit's release once it has ended, or as it stands after ``wait_s``.

        Without waiting (0) the first sight of it is enough; None when there is no sight of it.
        """
        loop = asyncio.get_running_loop()
        until = loop.time() + (wait_s or FIRST_LOOK_S)
        release: JsonObject | None = None
        while True:
            with self._changes.waiting(algorithm.name) as changed:
                try:
                    found = await self._services.releases(algorithm.name, commit=commit)
                except Unavailable:
                    found = []  # the push is accepted all the same; the deployer comes back
                release = found[0] if found else release
                left = until - loop.time()
                if release is not None and (not wait_s or release["state"] in ENDED):
                    return release
                if left <= 0:
                    return release
                with contextlib.suppress(TimeoutError):
                    async with asyncio.timeout(min(left, RELOOK_S)):
                        await changed.wait()


def _is_uuid(text: str) -> bool:
    parts = text.split("-")
    return [len(part) for part in parts] == [8, 4, 4, 4, 12] and all(
        c in "0123456789abcdefABCDEF" for c in "".join(parts)
    )
