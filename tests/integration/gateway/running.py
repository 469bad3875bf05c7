"""The whole gateway on a real database, broker and Redis; the other services answer over HTTP as they would."""

from __future__ import annotations

import asyncio
import json
import socket
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any, Literal
from uuid import UUID, uuid4

import asyncpg
import httpx
import pytest
import uvicorn
from redis.asyncio import Redis

from algodock_common.events import AlgorithmChanged, Event, ReleaseChanged, ServiceCommand
from algodock_common.identifiers import uuid7
from algodock_common.messaging import Bus
from algodock_gateway.main import create_app
from algodock_gateway.routes.edge import express_protocol
from algodock_gateway.settings import Settings
from tests.integration.gateway.peers import Peers
from tests.integration.gateway.upstream import until

__all__ = ["Gateway", "free_socket", "running_gateway"]


def free_socket() -> tuple[socket.socket, int]:
    sock = socket.socket()
    sock.bind(("127.0.0.1", 0))
    return sock, sock.getsockname()[1]


@asynccontextmanager
async def served(
    app: Any, sock: socket.socket, *, lifespan: Literal["on", "off"], http: Any = "httptools"
) -> AsyncIterator[None]:
    config = uvicorn.Config(
        app,
        http=http,
        lifespan=lifespan,
        log_config=None,
        access_log=False,
        proxy_headers=False,
    )
    server = uvicorn.Server(config)
    task = asyncio.create_task(server._serve(sockets=[sock]))
    await until(lambda: server.started or task.done(), seconds=60)
    try:
        yield
    finally:
        server.should_exit = server.force_exit = True
        await task


class Gateway:
    """The gateway, its peers, its bus's other ends and its database."""

    def __init__(self, settings: Settings, peers: Peers, database: asyncpg.Connection[Any], redis: Redis) -> None:
        self.settings, self.peers, self.database, self.redis = settings, peers, database, redis
        self.credentials = json.loads((settings.platform.data_dir / "credentials.json").read_text())
        headers = {"authorization": f"Bearer {self.credentials['api_key']}"}
        self.api = httpx.AsyncClient(base_url=self.credentials["url"], headers=headers, timeout=30)
        self.open = httpx.AsyncClient(base_url=self.credentials["url"], timeout=30)
        token = {"authorization": f"Bearer {settings.secrets.service_token()}"}
        self.inside = httpx.AsyncClient(base_url=self.credentials["url"], headers=token, timeout=30)
        self.deployer = Bus(settings.kafka, settings.secrets, service="deployer")
        self.worker = Bus(settings.kafka, settings.secrets, service="worker")
        self.registry = Bus(settings.kafka, settings.secrets, service="registry")
        self.commands: asyncio.Queue[ServiceCommand] = asyncio.Queue()
        self.algorithms: asyncio.Queue[AlgorithmChanged] = asyncio.Queue()

        async def command(event: Event[ServiceCommand]) -> None:
            self.commands.put_nowait(event.data)

        async def algorithm(event: Event[AlgorithmChanged]) -> None:
            self.algorithms.put_nowait(event.data)

        self.deployer.subscribe(ServiceCommand, command)
        self.deployer.subscribe(AlgorithmChanged, algorithm)

    async def algorithm(self, *, deployed: bool = True) -> tuple[str, UUID]:
        name = f"a-{uuid4().hex[:8]}"
        made = (await self.api.post("/api/v1/algorithms", json={"name": name})).json()
        if deployed:
            self.peers.services[name] = {
                "id": made["id"], "name": name, "status": "running", "health": "healthy", "message": "",
                "release_id": str(uuid7()), "commit": "c" * 40,
                "instances": [{"instance_id": str(uuid7()), "host": "127.0.0.1", "port": 8123}],
            }  # fmt: skip
        return name, UUID(made["id"])

    async def release(self, name: str, algorithm_id: UUID, sequence: int, **more: Any) -> None:
        data = ReleaseChanged.model_validate(
            {"release_id": uuid7(), "algorithm_id": algorithm_id, "algorithm": name, "commit": "c" * 40, **more}
        )
        event = Event[ReleaseChanged].of(data, source="/deployer").model_copy(update={"sequence": sequence})
        await self.deployer.publish(event)


@asynccontextmanager
async def running_gateway(server_environment: Mapping[str, str], data_dir: Path) -> AsyncIterator[Gateway]:
    """Run a gateway with a database of its own."""
    url = server_environment["DATABASE_URL"]
    name = f"gateway_{uuid4().hex[:8]}"
    admin = await asyncpg.connect(url)
    await admin.execute(f'CREATE DATABASE "{name}"')
    own_url = url.rpartition("/")[0] + "/" + name
    sock, port = free_socket()
    peer_sock, peer_port = free_socket()
    patch = pytest.MonkeyPatch()
    for key, value in {
        "DATABASE_URL": own_url,
        "HTTP_PORT": str(port),
        "GATEWAY_URL": f"http://127.0.0.1:{port}",
        "PUBLIC_URL": "https://dock.test/",
        "ALGODOCK_DATA_DIR": str(data_dir),
        **{f"{peer}_URL": f"http://127.0.0.1:{peer_port}" for peer in ("DEPLOYER", "GITEA_SYNC", "REGISTRY", "RUNNER")},
    }.items():
        patch.setenv(key, value)
    settings, peers = Settings(), Peers()
    redis = Redis.from_url(settings.redis.url.get_secret_value())
    app = create_app(settings)
    async with (
        served(peers.app(settings.secrets), peer_sock, lifespan="off"),
        served(app, sock, lifespan="on", http=express_protocol(app.lane)),
    ):
        database = await asyncpg.connect(own_url, server_settings={"search_path": "gateway"})
        gateway = Gateway(settings, peers, database, redis)
        for bus in (gateway.deployer, gateway.worker, gateway.registry):
            await bus.start()
            await bus.wait_connected()
        yield gateway
        for bus in (gateway.deployer, gateway.worker, gateway.registry):
            await bus.stop()
        for client in (gateway.api, gateway.open, gateway.inside):
            await client.aclose()
        await database.close()
    await redis.aclose()
    await admin.execute(f'DROP DATABASE "{name}" WITH (FORCE)')
    await admin.close()
    patch.undo()


async def refused_early(gateway: Gateway, path: str, head: str) -> int:
    """Announce a terabyte, send nothing of it, and return the status that comes all the same."""
    reader, writer = await asyncio.open_connection("127.0.0.1", gateway.settings.http.port)
    writer.write(f"POST {path} HTTP/1.1\r\nhost: x\r\n{head}\r\ncontent-length: {10**12}\r\n\r\n".encode())
    async with asyncio.timeout(60):
        line = await reader.readline()
    writer.close()
    return int(line.split()[1])
