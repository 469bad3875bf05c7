"""The Gitea that is used: where it is, whose token opens it, how repositories are named there."""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Literal
from urllib.parse import urlsplit

from algodock_gitea_sync.domain.errors import InvalidName
from algodock_gitea_sync.domain.names import CloneUrl, check_full_name

if TYPE_CHECKING:
    from uuid import UUID

__all__ = ["GiteaConfig", "check_server_url"]

_PREFIX = re.compile(r"^[A-Za-z0-9][A-Za-z0-9._-]{0,31}$")


@dataclass(frozen=True, slots=True)
class GiteaConfig:
    """A configuration; ``id`` is None for the environment's."""

    id: UUID | None
    server_url: str
    access_token: str = field(repr=False)
    default_owner: str = ""
    repo_prefix: str = ""
    source: Literal["saved", "environment"] = "saved"

    def __post_init__(self) -> None:
        """Check every part.

        Raises:
            InvalidName: a part that could not be used.
        """
        check_server_url(self.server_url)
        if self.default_owner:
            check_full_name(f"{self.default_owner}/x")
        if self.repo_prefix and not _PREFIX.fullmatch(self.repo_prefix):
            msg = f"repo_prefix {self.repo_prefix[:80]!r} is not the beginning of a repository's name"
            raise InvalidName(msg)
        if not self.access_token.isprintable() or " " in self.access_token:
            msg = "the access token has characters that no token has"
            raise InvalidName(msg)


def check_server_url(url: str) -> str:
    """Return the origin (scheme, host, port) that ``url`` is.

    Raises:
        InvalidName: it is no ``http(s)://host[:port]``.
    """
    if urlsplit(url).path.strip("/"):
        msg = f"server_url {url[:200]!r} has a path; it is http(s)://host[:port]"
        raise InvalidName(msg)
    try:
        return CloneUrl.parse(f"{url.rstrip('/')}/owner/name").origin
    except InvalidName as error:
        msg = f"server_url {url[:200]!r} is not http(s)://host[:port]"
        raise InvalidName(msg) from error
