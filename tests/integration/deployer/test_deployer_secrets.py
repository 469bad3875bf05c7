"""Secrets of a service: sealed in the database, given to its programs when they start, gone with them."""

from __future__ import annotations

import asyncio
import json
from typing import TYPE_CHECKING
from uuid import uuid4

import httpx
import pytest
import sqlalchemy as sa
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from algodock_deployer import handlers
from algodock_deployer.domain.secrets import SecretUnknown
from algodock_deployer.repository.tables import service_secrets

from .conftest import Deployer, eventually

if TYPE_CHECKING:
    from pathlib import Path

VALUE = "it's a $ecret `value`"


def telling() -> dict[str, str]:
    """Return a program whose version is what it finds in ``API_KEY``."""
    program = Deployer.program("VERSION")["main.py"].replace('"VERSION"', "os.environ.get('API_KEY', 'none')")
    return {"main.py": program}


def kept(folder: Path) -> list[Path]:
    """Return the files below a folder in which the value can be read."""
    found = (path for path in folder.rglob("*") if path.is_file() and not path.is_symlink())
    return [path for path in found if b"$ecret" in path.read_bytes()]


async def test_a_secret_is_what_the_next_start_sees_and_nobody_else(deployer: Deployer) -> None:
    context, algorithm_id = deployer.context, uuid4()
    deployer.ids["keeper"] = algorithm_id
    await handlers.put_secret(context, algorithm_id, "API_KEY", VALUE, actor="ann")
    first = await deployer.live("keeper", telling())
    assert (await deployer.answer("keeper"))["version"] == VALUE
    async with context.database.read() as session:
        (sealed,) = (await session.execute(sa.select(service_secrets.c.sealed))).scalars()
    assert VALUE.encode() not in sealed
    (file,) = kept(context.folders.services)
    assert file.stat().st_mode & 0o777 == 0o600
    assert not kept(context.folders.data / "builds")

    await handlers.put_secret(context, algorithm_id, "API_KEY", "another", actor="ann")
    assert (await deployer.answer("keeper"))["version"] == VALUE, "what runs keeps it"
    await deployer.command("keeper", "restart")

    async def changed() -> bool | None:
        return (await deployer.answer("keeper"))["version"] == "another" or None

    await eventually(changed, 60, "the restarted program to see the new value")
    await deployer.drains()

    async def gone() -> bool | None:
        return not kept(context.folders.services) or None

    await eventually(gone, 60, "the old value to be on no disk")

    (shown,) = await handlers.secrets_of(context, algorithm_id)
    assert (shown.name, shown.set_by) == ("API_KEY", "ann")
    await handlers.remove_secret(context, algorithm_id, "API_KEY", actor="bob")
    with pytest.raises(SecretUnknown):
        await handlers.remove_secret(context, algorithm_id, "API_KEY", actor="bob")
    _, entries, _ = await handlers.timeline_of(context, "keeper", limit=50, before=None)
    entries = [one for one in entries if one.kind == "secret"]
    assert [(one.detail, one.actor) for one in entries] == [("API_KEY was removed", "bob"), ("API_KEY was set", "ann")]
    assert first.state == "live"


async def test_a_model_elsewhere_is_served_once_its_key_is_there(deployer: Deployer) -> None:
    asked: list[str] = []

    async def complete(request: Request) -> Response:
        asked.append(request.headers["authorization"])
        said = (await request.json())["messages"][0]["content"]
        return JSONResponse({"choices": [{"message": {"content": said.upper()}}]})

    import uvicorn

    app = Starlette(routes=[Route("/v1/chat/completions", complete, methods=["POST"])])
    server = uvicorn.Server(uvicorn.Config(app, port=0, log_level="warning", lifespan="off"))
    running = asyncio.create_task(server.serve())
    try:

        async def port() -> int | None:
            return server.servers[0].sockets[0].getsockname()[1] if server.started else None

        url = f"http://127.0.0.1:{await eventually(port, 60, 'the endpoint to listen')}/v1"
        manifest = {"runtime": "openai", "openai": {"endpoint": url, "model": "tiny", "secret": "API_KEY"}}
        files = {"algodock.yaml": json.dumps(manifest)}
        commit = await deployer.push("model", files)
        failed = await deployer.release("model", commit, "failed")
        assert failed.reason.endswith("there is no such secret: algodock secret set model API_KEY")

        await handlers.put_secret(deployer.context, deployer.ids["model"], "API_KEY", "sk-1", actor="ann")
        await deployer.live("model", files)
        base = (await deployer.service("model")).instances[0].base_url
        async with httpx.AsyncClient(trust_env=False) as client:
            answer = await client.post(f"{base}/predict", json={"prompt": "hello"}, timeout=60)
            assert answer.json()["choices"][0]["message"]["content"] == "HELLO"
            assert (await client.get(f"{base}/info", timeout=60)).json()["description"].startswith("tiny at ")
        assert asked == ["Bearer sk-1"]
    finally:
        server.should_exit = True
        await running
