"""The other services as the gateway meets them over HTTP: one application that answers for all of them."""

from __future__ import annotations

import asyncio
import json
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any
from uuid import UUID

from fastapi import Depends, FastAPI, Request
from fastapi.responses import JSONResponse, RedirectResponse, Response, StreamingResponse

from algodock_common.errors import AlgoDockError
from algodock_common.events import InstanceChanged
from algodock_common.identifiers import uuid7
from algodock_common.web import current_identity, require_service_token
from algodock_gateway.clients import FakeFleet, FakeRegistry

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from algodock_common.settings import SecretSettings

__all__ = ["Peers"]


def _problem(status: int, detail: str) -> Response:
    body = {"type": "about:blank", "title": "x", "status": status, "detail": detail, "instance": "/inside"}
    return JSONResponse(body, status_code=status, media_type="application/problem+json")


class Peers:
    """Deployer, gitea-sync, registry and runner; what they know is set by the test."""

    def __init__(self) -> None:
        self.services: dict[str, dict[str, Any]] = {}
        self.releases: dict[str, list[dict[str, Any]]] = {}
        self.tasks: dict[UUID, dict[str, Any]] = {}
        self.calls: list[tuple[str, str, str | None, bytes]] = []
        self.submitted = asyncio.Event()
        self.results: dict[UUID, tuple[str, bytes]] = {}
        self.steps: dict[UUID, list[dict[str, Any]]] = {}
        self.instances: list[InstanceChanged] = []
        self.epoch = 0
        self.git: list[tuple[str, str, int]] = []
        self.max_push_bytes = 50_000_000
        self.webhooks: list[bytes] = []
        self.beats: list[str] = []
        self.linked: list[dict[str, Any]] = []
        self.uploads: list[tuple[str, dict[str, bytes]]] = []
        self.canaries: dict[str, int] = {}
        self.fleet = FakeFleet()
        self.registered = FakeRegistry()

    def app(self, secrets: SecretSettings) -> FastAPI:
        app = FastAPI()
        app.state.settings = SimpleNamespace(secrets=secrets)
        inside = [Depends(require_service_token)]
        self._deployer(app, inside)
        self._logs(app, inside)
        self._fleet(app, inside)
        self._forge(app, inside)
        self._registry(app, inside)
        self._submissions(app, inside)
        self._runner(app, inside)
        return app

    def _deployer(self, app: FastAPI, inside: list[Any]) -> None:
        @app.get("/internal/services", dependencies=inside)
        async def services() -> dict[str, Any]:
            return {"services": list(self.services.values())}

        @app.get("/internal/services/{name}", dependencies=inside, response_model=None)
        async def service(name: str) -> dict[str, Any] | Response:
            return self.services[name] if name in self.services else _problem(404, "no such service")

        @app.get("/internal/services/{name}/releases", dependencies=inside, response_model=None)
        async def releases(name: str, commit: str | None = None) -> dict[str, Any] | Response:
            if name not in self.services:
                return _problem(404, "no such service")
            found = self.releases.get(name, [])
            return {"releases": [one for one in found if commit in (None, one["commit"])]}

        @app.put("/internal/services/{name}/canary", dependencies=inside, status_code=204)
        async def canary(name: str, body: dict[str, Any]) -> Response:
            if name not in self.services:
                return _problem(404, "no such service")
            self.canaries[body["commit"]] = body["percent"]
            return Response(status_code=204)

    def _logs(self, app: FastAPI, inside: list[Any]) -> None:
        @app.get("/internal/services/{name}/logs", dependencies=inside, response_model=None)
        async def logs(name: str, lines: int, follow: int = 0) -> dict[str, Any] | Response:
            async def events() -> AsyncIterator[bytes]:
                for number in range(3):
                    yield f"data: line {number}\n\n".encode()
                    await asyncio.sleep(0.01)

            if follow:
                return StreamingResponse(events(), media_type="text/event-stream")
            return {"service_id": name, "lines": ["one"] * lines}

        @app.get("/internal/releases/{release_id}/build-log", dependencies=inside)
        async def build_log(release_id: UUID, sse: int = 0, after: int = 0) -> Response:
            if sse:
                return Response(f"id: {after + 1}\ndata: built\n\n", media_type="text/event-stream")
            return Response(f"built {release_id}", media_type="text/plain")

    def _fleet(self, app: FastAPI, inside: list[Any]) -> None:
        @app.exception_handler(AlgoDockError)
        async def told(_: Request, error: AlgoDockError) -> Response:
            return _problem(error.status, error.detail)

        @app.post("/internal/operations/look", dependencies=inside)
        async def look(body: dict[str, list[UUID]]) -> dict[str, Any]:
            found = await self.fleet.standing(body["ids"])
            return {"operations": [{"id": str(one), "state": s, "reason": r} for one, (s, r) in found.items()]}

        @app.get("/internal/services/{service_id}/timeline", dependencies=inside)
        async def timeline(service_id: UUID, limit: int) -> dict[str, Any]:
            return {"service_id": str(service_id), "name": "x", "entries": [{"number": limit}], "next": None}

        @app.get("/internal/services/{service_id}/metrics", dependencies=inside)
        async def metrics(service_id: UUID) -> dict[str, Any]:
            return {"service_id": str(service_id), "name": "x", "instances": []}

        @app.get("/internal/groups", dependencies=inside)
        async def groups() -> dict[str, Any]:
            return {"groups": await self.fleet.groups()}

        @app.post("/internal/groups", dependencies=inside, status_code=201)
        async def make(body: dict[str, Any]) -> dict[str, Any]:
            return await self.fleet.make_group(body["name"], body["services"], owner=body["owner"])

        @app.get("/internal/groups/{name}", dependencies=inside)
        async def group(name: str) -> dict[str, Any]:
            return await self.fleet.group(name)

        @app.put("/internal/groups/{name}", dependencies=inside)
        async def change(name: str, body: dict[str, Any]) -> dict[str, Any]:
            return await self.fleet.change_group(name, body)

        @app.delete("/internal/groups/{name}", dependencies=inside, status_code=204, response_class=Response)
        async def drop(name: str) -> None:
            await self.fleet.drop_group(name)

    def _forge(self, app: FastAPI, inside: list[Any]) -> None:
        @app.post("/internal/repositories", dependencies=inside)
        async def ensure(body: dict[str, Any]) -> dict[str, Any]:
            full_name = f"algodock/{body['algorithm']}"
            return {"full_name": full_name, "clone_url": f"http://gateway/git/{full_name}.git"}

        @app.post("/internal/repositories/link", dependencies=inside)
        async def link(body: dict[str, Any]) -> dict[str, Any]:
            self.linked.append(body)
            return {"full_name": "x/y", "commit": "c" * 40, "problem": ""}

        @app.post("/internal/repositories/{name}/upload", dependencies=[*inside, Depends(current_identity)])
        async def upload(name: str, request: Request) -> dict[str, Any]:
            async with request.form() as form:
                files = {one.filename: await one.read() for one in form.getlist("files")}  # type: ignore[union-attr]
            self.uploads.append((name, files))  # type: ignore[arg-type]
            return {"success": True, "commit": "d" * 40, "files": list(files)}

        @app.api_route("/git/{path:path}", methods=["GET", "POST"], dependencies=inside, response_model=None)
        async def git(path: str, request: Request) -> Response:
            identity = await current_identity(request)
            size = int(request.headers.get("content-length", "0"))
            if size > self.max_push_bytes:
                return _problem(413, "a push may have fewer bytes")
            size = 0
            async for part in request.stream():
                size += len(part)
                if size > self.max_push_bytes:
                    return _problem(413, "a push may have fewer bytes")
            self.git.append((path, identity.name, size))
            return Response(b"packed", media_type="application/x-git")

        @app.post("/webhook", response_model=None)
        async def webhook(request: Request) -> Response:
            self.webhooks.append(await request.body())
            return _problem(401, "refused") if "x-gitea-signature" not in request.headers else JSONResponse({})

    def _registry(self, app: FastAPI, inside: list[Any]) -> None:
        @app.get("/internal/routes", dependencies=inside)
        async def routes() -> dict[str, Any]:
            return {"epoch": self.epoch, "instances": [one.model_dump(mode="json") for one in self.instances]}

        @app.post("/internal/external", dependencies=inside, status_code=201)
        async def external(body: dict[str, Any]) -> dict[str, Any]:
            return {"instance_id": str(uuid7()), "token": "adi_x", "base_url": body["url"]}

        @app.get("/discover/{name}")
        async def discover(name: str) -> dict[str, Any]:
            return {"name": name, "instances": []}

        @app.get("/internal/registered", dependencies=inside)
        async def registered() -> dict[str, Any]:
            return {"services": [{"name": "x", "instances": list(self.registered.instances.values())}]}

        @app.put("/internal/instances/{instance_id}/weight", dependencies=inside)
        async def weigh(instance_id: UUID, body: dict[str, Any]) -> dict[str, Any]:
            return await self.registered.weigh(instance_id, body["weight"], force=body["force"])

        @app.post("/heartbeat", status_code=204, response_class=Response)
        async def heartbeat(request: Request) -> None:
            self.beats.append(request.headers["authorization"])

    def _submissions(self, app: FastAPI, inside: list[Any]) -> None:
        @app.post("/internal/tasks/of/{name}", dependencies=inside, status_code=202, response_model=None)
        async def submit_call(name: str, request: Request) -> dict[str, Any] | Response:
            body, identity = await request.body(), await current_identity(request)
            if name == "unknown":
                return _problem(404, "no such algorithm")
            task_id = uuid7()
            task = {"id": str(task_id), "state": "queued", "algorithm": name, "attempt": 0}
            self.tasks[task_id] = task
            self.calls.append((str(task_id), identity.name, request.headers.get("content-type"), body))
            self.submitted.set()
            return task

        @app.post("/internal/tasks/{task_id}/rerun", dependencies=inside, status_code=202)
        async def rerun(task_id: UUID, request: Request) -> dict[str, Any]:
            identity = await current_identity(request)
            body: dict[str, Any] = await request.json()
            return body | {"id": str(uuid7()), "rerun_of": str(task_id), "owner": identity.name}

    def _runner(self, app: FastAPI, inside: list[Any]) -> None:
        @app.post("/internal/tasks", dependencies=inside, status_code=202)
        async def submit(request: Request) -> dict[str, Any]:
            body = json.loads(await request.body())
            identity = await current_identity(request)
            task = {"id": str(uuid7()), "state": "queued", "algorithm": body["algorithm"], "attempt": 0}
            self.tasks[UUID(task["id"])] = task
            return task | {"metadata": {"owner": identity.name}}

        @app.get("/internal/tasks/{task_id}", dependencies=[*inside, Depends(current_identity)], response_model=None)
        async def task(task_id: UUID) -> dict[str, Any] | Response:
            return self.tasks.get(task_id) or _problem(404, "no such task")

        @app.get(
            "/internal/tasks/{task_id}/timeline", dependencies=[*inside, Depends(current_identity)], response_model=None
        )
        async def timeline(task_id: UUID, after: int = -1) -> dict[str, Any] | Response:
            if task_id not in self.tasks:
                return _problem(404, "no such task")
            steps = [one for one in self.steps.get(task_id, []) if one["index"] > after]
            return self.tasks[task_id] | {"transitions": steps, "next": None}

        @app.post("/internal/tasks/standing", dependencies=inside)
        async def standing(body: dict[str, list[UUID]]) -> dict[str, Any]:
            known = {id_: self.tasks[id_] for id_ in body["ids"] if id_ in self.tasks}
            return {"standing": {str(id_): f"{task['state']}/{task['attempt']}" for id_, task in known.items()}}

        @app.get("/internal/tasks/{task_id}/result", dependencies=[*inside, Depends(current_identity)])
        async def result(task_id: UUID) -> Response:
            if task_id in self.results:
                type_, content = self.results[task_id]
                return Response(content, media_type=type_)
            return RedirectResponse(f"http://objects/tasks/{task_id}", status_code=307)

        @app.api_route("/internal/callbacks{rest:path}", methods=["GET", "POST"], dependencies=inside)
        @app.api_route("/internal/tasks/{task}/callback{rest:path}", methods=["GET", "POST"], dependencies=inside)
        async def callbacks(request: Request) -> dict[str, Any]:
            identity = await current_identity(request)
            body, path = json.loads(await request.body() or b"null"), request.url.path.removeprefix("/internal/")
            return {"path": path, "query": dict(request.query_params), "body": body, "name": identity.name}

        @app.post(
            "/internal/tasks/{task_id}/cancel", dependencies=[*inside, Depends(current_identity)], status_code=202
        )
        async def cancel(task_id: UUID) -> dict[str, Any]:
            return self.tasks[task_id] | {"state": "cancelled"}
