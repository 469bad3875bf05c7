"""The use cases of gitea-sync; what each needs is handed to it by ``main``."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from algodock_gitea_sync.handlers.configs import Configs
    from algodock_gitea_sync.handlers.git import GitOverHttp
    from algodock_gitea_sync.handlers.repositories import Repositories
    from algodock_gitea_sync.handlers.uploads import Uploads
    from algodock_gitea_sync.handlers.webhooks import Webhooks

__all__ = ["Handlers"]


@dataclass(frozen=True, slots=True)
class Handlers:
    """What the inlets call."""

    git: GitOverHttp
    webhooks: Webhooks
    repositories: Repositories
    uploads: Uploads
    configs: Configs
