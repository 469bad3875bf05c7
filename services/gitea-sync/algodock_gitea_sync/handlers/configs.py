"""The Gitea configuration: shown without its token, tested before it is saved, kept as history."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from algodock_common.errors import AlgoDockError
from algodock_gitea_sync.domain.errors import ForgeFailed, ForgeUnavailable
from algodock_gitea_sync.domain.gitea import GiteaConfig, check_server_url
from algodock_gitea_sync.repository import configs

if TYPE_CHECKING:
    from collections.abc import Sequence

    from algodock_common.database import Database
    from algodock_common.vault import Vault
    from algodock_gitea_sync.handlers.forges import Forges

__all__ = ["Configs", "ConnectionTest"]


@dataclass(frozen=True, slots=True)
class ConnectionTest:
    """How a Gitea answered."""

    success: bool
    message: str
    version: str = ""


@dataclass(frozen=True, slots=True)
class Configs:
    """Reads, tests and saves the configuration."""

    db: Database
    vault: Vault
    forges: Forges

    async def get(self) -> GiteaConfig | None:
        """Return the configuration that holds, None without one."""
        return await self.forges.config()

    async def test(self, config: GiteaConfig | None = None) -> ConnectionTest:
        """Ask the Gitea of ``config`` (default: the one that holds) for its version and whose token it is."""
        config = config or await self.forges.config()
        if config is None:
            return ConnectionTest(success=False, message="no Gitea is configured; the built-in forge is used")
        api = self.forges.api(config)
        try:
            version = await api.version()
            login = await api.login() if config.access_token else ""
        except (ForgeFailed, ForgeUnavailable) as error:
            return ConnectionTest(success=False, message=error.detail)
        finally:
            await api.close()
        who = f" as {login}" if login else "; without a token public repositories can be read only"
        return ConnectionTest(success=True, message=f"Gitea {version} answers{who}", version=version)

    async def save(
        self, *, server_url: str, access_token: str, default_owner: str, repo_prefix: str, actor: str
    ) -> GiteaConfig:
        """Test a configuration, then let it hold; an empty token keeps the one that holds for the same server.

        Raises:
            InvalidName: a part that cannot be used. ConfigRefused: the server did not answer as a Gitea does.
        """
        origin = check_server_url(server_url)
        before = await self.forges.config()
        if not access_token and before is not None and check_server_url(before.server_url) == origin:
            access_token = before.access_token
        row = configs.new_id()
        config = GiteaConfig(row, origin, access_token, default_owner, repo_prefix)
        tested = await self.test(config)
        if not tested.success:
            raise ConfigRefused(f"not saved: {tested.message}")
        async with self.db.transaction() as tx:
            await configs.activate(
                tx.session,
                id=row,
                server_url=origin,
                access_token=self.vault.seal(access_token, row),
                default_owner=default_owner,
                repo_prefix=repo_prefix,
                server_version=tested.version,
                created_by=actor,
            )
        return config

    async def history(self) -> Sequence[dict[str, Any]]:
        """Return every saved configuration, newest first, without tokens."""
        async with self.db.read() as session:
            return await configs.history(session)


class ConfigRefused(AlgoDockError):
    """A Gitea configuration that does not work."""

    status = 400
    title = "Gitea configuration refused"
    code = "gitea-config-refused"
