"""A server with models, and caches on one folder that fetch from it."""

from __future__ import annotations

import hashlib
import os
from dataclasses import dataclass, field
from pathlib import Path

from aiohttp import web

from algodock_common.testing import FakeObjectStore
from algodock_deployer.clients.downloads import Downloads
from algodock_deployer.clients.model_cache import ModelCache
from algodock_deployer.clients.model_hubs import Hubs
from algodock_deployer.domain.model_sources import Link

CONTENT = os.urandom(3 * 2**20)
COMMITS = ("c" * 40, "d" * 40)


def sha256(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()


@dataclass
class Origin:
    """A server with files, and a hub by the URLs that Hugging Face and ModelScope document."""

    files: dict[str, bytes] = field(default_factory=dict)
    asked: list[tuple[str, str, str]] = field(default_factory=list)
    breaks: int = 0
    status: int = 0
    at: int = 0
    announces: bool = True
    cdn: str = ""
    base: str = ""
    odd_path: str = ""

    def application(self) -> web.Application:
        application = web.Application()
        application.router.add_get("/away", self.redirect)
        application.router.add_get("/files/{path:.+}", self.file)
        application.router.add_get("/{owner}/{name}/resolve/{revision}/{path:.+}", self.resolve)
        application.router.add_get("/api/models/{owner}/{name}/revision/{revision}", self.revision)
        application.router.add_get("/api/models/{owner}/{name}/tree/{revision}", self.tree)
        application.router.add_get("/api/v1/models/{owner}/{name}/repo/files", self.modelscope_files)
        application.router.add_get("/api/v1/models/{owner}/{name}/repo", self.modelscope_file)
        return application

    @property
    def commit(self) -> str:
        return COMMITS[self.at]

    def fetched(self, path: str) -> list[str]:
        """Return the ranges that were asked of a file."""
        return [ranges for method, asked, ranges in self.asked if method == "GET" and asked.endswith(path)]

    async def redirect(self, request: web.Request) -> web.StreamResponse:
        raise web.HTTPFound(request.query.get("to", "/away"))

    async def file(self, request: web.Request) -> web.StreamResponse:
        return await self.send(request, request.match_info["path"])

    async def send(self, request: web.Request, path: str, headers: dict[str, str] | None = None) -> web.StreamResponse:
        self.asked.append((request.method, request.path, request.headers.get("range", "")))
        if self.status:
            return web.Response(status=self.status)
        if path not in self.files:
            return web.Response(status=404)
        content = self.files[path]
        ranges = request.http_range
        start = ranges.start or 0
        response = web.StreamResponse(status=206 if start else 200, headers=headers)
        if self.announces:
            response.content_length = len(content) - start
        await response.prepare(request)
        if self.breaks and request.method == "GET":
            self.breaks -= 1
            await response.write(content[start : start + 2**20])
            if request.transport is not None:
                request.transport.close()
            return response
        if request.method == "GET":
            await response.write(content[start:])
        return response

    async def resolve(self, request: web.Request) -> web.StreamResponse:
        path, revision = request.match_info["path"], request.match_info["revision"]
        if self.status or path not in self.files or revision not in {"main", *COMMITS}:
            return web.Response(status=self.status or 404)
        headers = {"X-Repo-Commit": self.commit if revision == "main" else revision}
        if not self.cdn:
            return await self.send(request, path, headers)
        headers |= {"X-Linked-Etag": f'"{sha256(self.files[path])}"', "X-Linked-Size": str(len(self.files[path]))}
        self.asked.append((request.method, request.path, ""))
        raise web.HTTPFound(f"{self.cdn}/files/{path}", headers=headers)

    async def revision(self, _: web.Request) -> web.StreamResponse:
        return web.json_response({"sha": self.commit}) if not self.status else web.Response(status=self.status)

    async def tree(self, request: web.Request) -> web.StreamResponse:
        entries = [
            {"type": "directory", "path": "onnx", "oid": "0", "size": 0},
            *(
                {"type": "file", "path": path, "size": len(content), "oid": "1" * 40,
                 **({"lfs": {"oid": sha256(content), "size": len(content)}} if len(content) > 2**20 else {})}
                for path, content in self.files.items()
            ),
            *([{"type": "file", "path": self.odd_path, "size": 1, "oid": "1" * 40}] if self.odd_path else []),
        ]  # fmt: skip
        half, rest = entries[:2], entries[2:]
        if "cursor" in request.query:
            return web.json_response(rest)
        link = f'<{self.base}{request.path}?recursive=true&cursor=x>; rel="next"'
        return web.json_response(half, headers={"Link": link})

    async def modelscope_files(self, request: web.Request) -> web.StreamResponse:
        if request.query["Revision"] != "master" or request.query["Recursive"] != "true":
            return web.Response(status=404)
        files = [
            {"Path": path, "Name": path.rpartition("/")[2], "Type": "blob", "Size": len(content),
             "Sha256": sha256(content), "Revision": self.commit}
            for path, content in self.files.items()
        ]  # fmt: skip
        return web.json_response({"Code": 200, "Data": {"Files": [{"Path": "onnx", "Type": "tree"}, *files]}})

    async def modelscope_file(self, request: web.Request) -> web.StreamResponse:
        return await self.send(request, request.query["FilePath"])


@dataclass
class Machine:
    """Caches on one folder, as several deployers would have them."""

    root: Path
    origin: Origin
    store: FakeObjectStore = field(default_factory=FakeObjectStore)
    trusted: tuple[str, ...] = ()

    def cache(self, *, min_free: int = 0) -> ModelCache:
        downloads = Downloads(self.trusted, min_free_bytes=min_free, pause_s=0.01)
        hubs = Hubs(downloads, hf=self.origin.base, modelscope=self.origin.base)
        return ModelCache(self.root, store=self.store, downloads=downloads, hubs=hubs, min_free_bytes=min_free)

    def link(self, path: str = "x.bin", content: bytes = CONTENT) -> tuple[Link, str]:
        self.origin.files.setdefault(path, content)
        return Link(f"{self.origin.base}/files/{path}"), sha256(content)

    @property
    def left(self) -> list[Path]:
        """Return what a fetch that failed left behind, but for its lock."""
        return [path for part in ("blobs", "trees", "known", "partial") for path in (self.root / part).glob("*")]
