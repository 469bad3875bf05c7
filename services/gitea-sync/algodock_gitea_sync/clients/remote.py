"""A git server elsewhere, spoken to by git itself: heads by ``ls-remote``, commits by a shallow bare fetch."""

from __future__ import annotations

import asyncio
import base64
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from algodock_gitea_sync.clients.forge import Created, HeadMoved
from algodock_gitea_sync.clients.git import GitFailed
from algodock_gitea_sync.domain.errors import ForgeFailed, ForgeUnavailable, UnsafeTree
from algodock_gitea_sync.domain.names import CloneUrl, check_branch

if TYPE_CHECKING:
    from collections.abc import Mapping
    from uuid import UUID

    from algodock_gitea_sync.clients.forge import Upload
    from algodock_gitea_sync.clients.git import Git
    from algodock_gitea_sync.domain.repository import Repository

__all__ = ["GitRemote"]

_LS_REMOTE_TIMEOUT_S = 20.0


@dataclass(frozen=True, slots=True)
class GitRemote:
    """Repositories on servers that are only read. ``origins`` are those that may be spoken to.

    ``token`` goes, as a header, to the server at ``token_origin`` and nowhere else.
    """

    git: Git
    mirrors: Path
    origins: frozenset[str]
    fetch_timeout_s: float
    ca_file: Path | None = None
    token: str = field(default="", repr=False)
    token_origin: str = ""

    async def create(self, algorithm: str) -> Created:
        """Refuse: nothing is made on a server that is only read."""
        msg = f"no repository for {algorithm!r} can be made on a git server that is only read"
        raise ForgeFailed(msg)

    async def watch(self, repository: Repository, secret: str) -> None:
        """Do nothing: these servers are polled."""

    async def head(self, repository: Repository) -> str | None:
        """Return the branch's head."""
        return (await self._heads(repository, check_branch(repository.branch))).get(repository.ref)

    async def branches(self, repository: Repository) -> list[str]:
        """Return the names of the branches."""
        return [ref.removeprefix("refs/heads/") for ref in list(await self._heads(repository))[:200]]

    async def objects(self, repository: Repository, commit: str) -> Path:
        """Fetch the branch's newest commit, without history, into this repository's own mirror."""
        mirror = self.mirror(repository.id)
        await self._ensure(mirror)
        branch = check_branch(repository.branch)
        await self._outside(
            repository,
            *(f"--git-dir={mirror}", "fetch", "--quiet", "--depth=1", "--no-tags", "--no-write-fetch-head", "--force"),
            *("--", self.url(repository), f"+refs/heads/{branch}:refs/heads/{branch}"),
            timeout_s=self.fetch_timeout_s,
        )
        fetched = await self.git.run(f"--git-dir={mirror}", "rev-parse", "--verify", "--quiet", f"refs/heads/{branch}")
        if fetched.decode().strip() != commit:
            raise HeadMoved
        return mirror

    async def commit_files(self, repository: Repository, upload: Upload) -> str:  # noqa: ARG002  # the contract's
        """Refuse: nothing is written to a server that is only read."""
        msg = f"{repository.clone_url} is only read; push to it instead of uploading"
        raise ForgeFailed(msg)

    def mirror(self, repository_id: UUID) -> Path:
        """Return where what was fetched for a repository lies."""
        return self.mirrors / f"{repository_id}.git"

    def url(self, repository: Repository) -> str:
        """Return the URL that git gets, checked again at its use: settings may have changed since it was linked.

        Raises:
            InvalidName: it is no clone URL.
            ForgeFailed: its server is not allowed.
        """
        url = CloneUrl.parse(repository.clone_url)
        if url.origin not in self.origins:
            msg = f"{url.origin} is not among the git servers that may be deployed from"
            raise ForgeFailed(msg)
        return str(url)

    async def _heads(self, repository: Repository, *branches: str) -> dict[str, str]:
        patterns = [f"refs/heads/{branch}" for branch in branches]
        out = await self._outside(
            repository, "ls-remote", "--heads", "--", self.url(repository), *patterns, timeout_s=_LS_REMOTE_TIMEOUT_S
        )
        lines = (line.partition("\t") for line in out.decode(errors="replace").splitlines())
        return {ref: commit for commit, _, ref in lines}

    async def _ensure(self, mirror: Path) -> None:
        if not (mirror / "HEAD").exists():
            await asyncio.to_thread(mirror.mkdir, parents=True, exist_ok=True)
            await self.git.run("init", "--quiet", "--bare", "--", str(mirror))

    async def _outside(self, repository: Repository, *arguments: str, timeout_s: float) -> bytes:
        try:
            return await self.git.run(*arguments, timeout_s=timeout_s, outside=True, env=self._credentials())
        except GitFailed as error:
            msg = f"{repository.clone_url} cannot be read: {error}"
            if "fsck error" in error.stderr or "index-pack failed" in error.stderr:
                raise UnsafeTree(f"git refuses the commit's objects: {error.stderr[-500:]}") from error
            if "not found" in error.stderr or "couldn't find remote ref" in error.stderr:
                raise ForgeFailed(msg) from error
            raise ForgeUnavailable(msg) from error

    def _credentials(self) -> Mapping[str, str]:
        """Return configuration through the environment: a command line can be read by every user."""
        pairs: list[tuple[str, str]] = []
        if self.token and self.token_origin:
            basic = base64.b64encode(f"algodock:{self.token}".encode()).decode()
            pairs.append((f"http.{self.token_origin}/.extraHeader", f"Authorization: Basic {basic}"))
        if self.ca_file:
            pairs.append(("http.sslCAInfo", str(self.ca_file)))
        env = {"GIT_CONFIG_COUNT": str(len(pairs))}
        for number, (key, value) in enumerate(pairs):
            env |= {f"GIT_CONFIG_KEY_{number}": key, f"GIT_CONFIG_VALUE_{number}": value}
        return env
