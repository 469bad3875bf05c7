"""Gitea's API, also spoken by Forgejo: https://docs.gitea.com/api (version 1). Commits come by git itself."""

from __future__ import annotations

import asyncio
import base64
from dataclasses import dataclass
from http import HTTPStatus
from typing import TYPE_CHECKING, Any, TypeAlias
from urllib.parse import quote

import httpx

from algodock_gitea_sync.clients.forge import Created
from algodock_gitea_sync.domain.errors import ForgeFailed, ForgeUnavailable, UploadConflict
from algodock_gitea_sync.domain.names import CloneUrl, check_full_name

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from algodock_gitea_sync.clients.forge import Upload
    from algodock_gitea_sync.clients.remote import GitRemote
    from algodock_gitea_sync.domain.repository import Repository

__all__ = ["GiteaApi", "GiteaForge"]

Json: TypeAlias = Any
"""What Gitea says; whoever calls knows the shape."""

_PAGE = 50
_TREE_PAGE = 1000
_MAX_TREE_PAGES = 40
_DEFAULT_BRANCH = "main"


class GiteaApi:
    """The few calls of Gitea's API that are needed; one connection pool."""

    def __init__(
        self, server_url: str, token: str, *, timeout_s: float, transport: httpx.AsyncBaseTransport | None = None
    ) -> None:
        """``server_url`` is what people see, without ``/api/v1``."""
        self._client = httpx.AsyncClient(
            base_url=f"{server_url.rstrip('/')}/api/v1",
            headers={"authorization": f"token {token}", "accept": "application/json"} if token else {},
            timeout=timeout_s,
            transport=transport,
            follow_redirects=False,
        )

    async def close(self) -> None:
        """Close the connections."""
        await self._client.aclose()

    async def call(
        self,
        method: str,
        path: str,
        *,
        absent: HTTPStatus | None = None,
        json: object = None,
        params: Mapping[str, str | int] | None = None,
    ) -> Json:
        """Make one call and return its JSON; None when it answers ``absent``.

        Raises:
            ForgeUnavailable: no connection, no answer in time, 429 or a 5xx.
            ForgeFailed: any other answer that is no success.
        """
        try:
            response = await self._client.request(method, path, json=json, params=params)
        except httpx.HTTPError as error:
            msg = f"Gitea at {self._client.base_url.host} cannot be reached: {type(error).__name__} {error}".strip()
            raise ForgeUnavailable(msg) from error
        if response.status_code == absent:
            return None
        if response.is_server_error or response.status_code == HTTPStatus.TOO_MANY_REQUESTS:
            raise ForgeUnavailable(self._said(method, path, response))
        if not response.is_success:
            raise ForgeFailed(self._said(method, path, response), upstream_status=response.status_code)
        try:
            return response.json() if response.content else {}
        except ValueError as error:
            msg = f"Gitea answered {method} {path} with something else than JSON"
            raise ForgeFailed(msg) from error

    async def version(self) -> str:
        """Return the server's version."""
        return str((await self.call("GET", "/version"))["version"])

    async def login(self) -> str:
        """Return whose token this is."""
        return str((await self.call("GET", "/user"))["login"])

    @staticmethod
    def _said(method: str, path: str, response: httpx.Response) -> str:
        try:
            message = str(response.json()["message"])[:500]
        except (ValueError, KeyError, TypeError):
            message = response.reason_phrase
        return f"Gitea answered {method} {path} with {response.status_code}: {message}"


@dataclass(frozen=True, slots=True)
class GiteaForge:
    """The configured Gitea. ``webhook_url`` is what it posts pushes to."""

    api: GiteaApi
    remote: GitRemote
    default_owner: str
    repo_prefix: str
    webhook_url: str

    async def create(self, algorithm: str) -> Created:
        """Make a private, empty repository ``<default_owner>/<repo_prefix><algorithm>``, or find it there."""
        name = f"{self.repo_prefix}{algorithm}"
        login = await self.api.login()
        owner = self.default_owner or login
        check_full_name(f"{owner}/{name}")
        wish = {"name": name, "private": True, "auto_init": False, "default_branch": _DEFAULT_BRANCH}
        path = "/user/repos" if owner == login else f"/orgs/{quote(owner)}/repos"
        made = await self.api.call("POST", path, json=wish, absent=HTTPStatus.CONFLICT)
        if made is None:
            made = await self.api.call("GET", f"/repos/{quote(owner)}/{quote(name)}")
        return Created(
            made["full_name"], str(CloneUrl.parse(made["clone_url"])), made.get("default_branch") or _DEFAULT_BRANCH
        )

    async def watch(self, repository: Repository, secret: str) -> None:
        """Add the webhook, or give the one that is there the new secret."""
        hooks = f"{_of(repository)}/hooks"
        config = {"url": self.webhook_url, "content_type": "json", "secret": secret}
        wish = {"type": "gitea", "active": True, "events": ["push"], "branch_filter": "*", "config": config}
        for hook in await self.api.call("GET", hooks, params={"limit": _PAGE}):
            if hook.get("config", {}).get("url") == self.webhook_url:
                await self.api.call(
                    "PATCH", f"{hooks}/{int(hook['id'])}", json={k: wish[k] for k in wish if k != "type"}
                )
                return
        await self.api.call("POST", hooks, json=wish)

    async def head(self, repository: Repository) -> str | None:
        """Return the branch's head."""
        path = f"{_of(repository)}/branches/{quote(repository.branch, safe='/')}"
        branch = await self.api.call("GET", path, absent=HTTPStatus.NOT_FOUND)
        return None if branch is None else str(branch["commit"]["id"])

    async def branches(self, repository: Repository) -> list[str]:
        """Return the names of the first branches."""
        found = await self.api.call("GET", f"{_of(repository)}/branches", params={"limit": _PAGE})
        return [str(branch["name"]) for branch in found]

    async def objects(self, repository: Repository, commit: str) -> Path:
        """Fetch the commit by git."""
        return await self.remote.objects(repository, commit)

    async def commit_files(self, repository: Repository, upload: Upload) -> str:
        """Put ``upload`` on the branch as one commit by the contents API."""
        there = await self._files(repository)
        wish = [
            {
                "operation": "update" if file.path in there else "create",
                "path": file.path,
                "content": base64.b64encode(await asyncio.to_thread(file.content.read)).decode(),
                **({"sha": there[file.path]} if file.path in there else {}),
            }
            for file in upload.files
        ]
        if upload.replace:
            kept = {file.path for file in upload.files}
            wish += [
                {"operation": "delete", "path": path, "sha": sha} for path, sha in there.items() if path not in kept
            ]
        change = {
            "branch": repository.branch,
            "message": upload.message,
            "author": {"name": upload.author, "email": f"{upload.author.replace(' ', '.')}@algodock.local"},
            "files": wish,
        }
        made = await self.api.call("POST", f"{_of(repository)}/contents", json=change, absent=HTTPStatus.CONFLICT)
        if made is None:
            msg = f"branch {repository.branch} of {repository.full_name} moved meanwhile; upload again"
            raise UploadConflict(msg)
        return str(made["commit"]["sha"])

    async def _files(self, repository: Repository) -> dict[str, str]:
        """Return path and object name of each file on the branch."""
        head = await self.head(repository)
        if head is None:
            return {}
        files: dict[str, str] = {}
        for page in range(1, _MAX_TREE_PAGES + 1):
            params: dict[str, str | int] = {"recursive": "true", "page": page, "per_page": _TREE_PAGE}
            tree = await self.api.call("GET", f"{_of(repository)}/git/trees/{head}", params=params)
            files |= {entry["path"]: entry["sha"] for entry in tree["tree"] if entry["type"] == "blob"}
            if not tree.get("truncated"):
                return files
        msg = f"{repository.full_name} has too many files to upload to"
        raise ForgeFailed(msg)


def _of(repository: Repository) -> str:
    owner, name = check_full_name(repository.full_name)
    return f"/repos/{quote(owner)}/{quote(name)}"
