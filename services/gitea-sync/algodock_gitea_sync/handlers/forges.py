"""Which forge a repository lives on, and with whose credentials it is spoken to."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

from algodock_gitea_sync.clients.gitea import GiteaApi, GiteaForge
from algodock_gitea_sync.clients.remote import GitRemote
from algodock_gitea_sync.domain.errors import ForgeFailed, InvalidName
from algodock_gitea_sync.domain.gitea import GiteaConfig, check_server_url
from algodock_gitea_sync.domain.names import CloneUrl
from algodock_gitea_sync.domain.repository import ForgeKind
from algodock_gitea_sync.repository import configs

if TYPE_CHECKING:
    from pathlib import Path

    import httpx

    from algodock_common.database import Database
    from algodock_common.vault import Vault
    from algodock_gitea_sync.clients.builtin import BuiltinForge
    from algodock_gitea_sync.clients.forge import Forge
    from algodock_gitea_sync.domain.repository import Repository
    from algodock_gitea_sync.settings import GiteaSettings, GitSettings

__all__ = ["Forges"]


class Forges:
    """The built-in forge, the configured Gitea, and other git servers that the operator allowed."""

    def __init__(
        self,
        db: Database,
        vault: Vault,
        builtin: BuiltinForge,
        *,
        mirrors: Path,
        git: GitSettings,
        gitea: GiteaSettings,
        transport: httpx.AsyncBaseTransport | None = None,
    ) -> None:
        """``transport`` lets a test stand in for Gitea."""
        self.builtin = builtin
        self._db = db
        self._vault = vault
        self._mirrors = mirrors
        self._git = git
        self._gitea = gitea
        self._transport = transport
        self._lock = asyncio.Lock()
        self._made: tuple[GiteaConfig, GiteaForge] | None = None

    async def config(self) -> GiteaConfig | None:
        """Return the Gitea configuration that holds: what was saved, else the environment's, else none."""
        async with self._db.read() as session:
            saved = await configs.active(session)
        if saved is not None:
            return GiteaConfig(
                id=saved["id"],
                server_url=saved["server_url"],
                access_token=self._vault.open(saved["access_token"], saved["id"]),
                default_owner=saved["default_owner"],
                repo_prefix=saved["repo_prefix"],
            )
        if not self._gitea.server_url:
            return None
        return GiteaConfig(
            id=None,
            server_url=self._gitea.server_url,
            access_token=self._gitea.access_token.get_secret_value(),
            default_owner=self._gitea.default_owner,
            repo_prefix=self._gitea.repo_prefix,
            source="environment",
        )

    def api(self, config: GiteaConfig) -> GiteaApi:
        """Return a client for a configuration; the caller closes it."""
        return GiteaApi(
            check_server_url(config.server_url),
            config.access_token,
            timeout_s=self._gitea.timeout_s,
            transport=self._transport,
        )

    async def of(self, repository: Repository) -> Forge:
        """Return the forge that a repository lives on.

        Raises:
            ForgeFailed: it lives on a Gitea, and none is configured.
        """
        return await self.by_kind(repository.forge)

    async def by_kind(self, kind: ForgeKind) -> Forge:
        """Return a forge by its kind.

        Raises:
            ForgeFailed: a Gitea is asked for, and none is configured.
        """
        match kind:
            case ForgeKind.BUILTIN:
                return self.builtin
            case ForgeKind.GITEA:
                config = await self.config()
                if config is None:
                    msg = "no Gitea is configured"
                    raise ForgeFailed(msg)
                return await self._gitea_forge(config)
            case ForgeKind.GIT:
                return self._remote(await self.config())

    async def for_new(self) -> tuple[ForgeKind, Forge]:
        """Return where new repositories are made: on the Gitea if one is configured with a token, else here."""
        config = await self.config()
        if config is not None and config.access_token:
            return ForgeKind.GITEA, await self._gitea_forge(config)
        return ForgeKind.BUILTIN, self.builtin

    async def kind_of(self, url: str) -> tuple[ForgeKind, str, str]:
        """Return kind, full name and cleaned clone URL of a repository that somebody names by its URL.

        Raises:
            InvalidName: it is no clone URL, or its server is not one that may be deployed from.
        """
        own = self.builtin.named_by(url)
        if own is not None:
            return ForgeKind.BUILTIN, own, self.builtin.clone_url(own)
        parsed = CloneUrl.parse(url)
        config = await self.config()
        if config is not None and parsed.origin == check_server_url(config.server_url):
            return ForgeKind.GITEA, parsed.full_name, str(parsed)
        if parsed.origin in self._allowed():
            return ForgeKind.GIT, parsed.full_name, str(parsed)
        msg = f"{parsed.origin} is not among the git servers that may be deployed from"
        raise InvalidName(msg)

    async def set_branch(self, repository: Repository, branch: str) -> None:
        """Tell the forge, where it is ours, which branch deploys."""
        if repository.forge is ForgeKind.BUILTIN:
            await self.builtin.set_branch(repository, branch)

    async def close(self) -> None:
        """Close the connections to Gitea."""
        if self._made is not None:
            await self._made[1].api.close()
            self._made = None

    async def _gitea_forge(self, config: GiteaConfig) -> GiteaForge:
        async with self._lock:
            if self._made is not None and self._made[0] == config:
                return self._made[1]
            await self.close()
            forge = GiteaForge(
                api=self.api(config),
                remote=self._remote(config),
                default_owner=config.default_owner,
                repo_prefix=config.repo_prefix,
                webhook_url=f"{self.builtin.public_url}/api/v1/gitea/webhook",
            )
            self._made = (config, forge)
            return forge

    def _remote(self, config: GiteaConfig | None) -> GitRemote:
        origin = "" if config is None else check_server_url(config.server_url)
        return GitRemote(
            git=self.builtin.git,
            mirrors=self._mirrors,
            origins=self._allowed() | ({origin} if origin else set()),
            fetch_timeout_s=self._git.fetch_timeout_s,
            ca_file=self._git.ca_file,
            token="" if config is None else config.access_token,
            token_origin=origin,
        )

    def _allowed(self) -> frozenset[str]:
        return frozenset(f"{scheme}://{host}" for host in self._git.hosts() for scheme in ("http", "https"))
