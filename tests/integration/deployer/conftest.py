"""A deployer on a real PostgreSQL with a real supervisord and real uv; registry, routers and objects are fakes."""

from __future__ import annotations

import asyncio
import io
import os
import shutil
import signal
import sys
import tarfile
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import AbstractAsyncContextManager, asynccontextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol, TypeVar
from uuid import UUID, uuid4

import httpx
import pytest
import sqlalchemy as sa
from pydantic import SecretStr

from algodock_common.database import Database, migrate, outbox
from algodock_common.events import CodePushed, Event, ReleaseChanged, ServiceCommand
from algodock_common.identifiers import uuid7
from algodock_common.settings import DatabaseSettings, SecretSettings
from algodock_common.testing import FakeObjectStore
from algodock_common.vault import Vault
from algodock_deployer import handlers
from algodock_deployer.clients.confinement import Confinement, Unconfined
from algodock_deployer.clients.devices import Devices, NvidiaSmi
from algodock_deployer.clients.downloads import Downloads
from algodock_deployer.clients.environments import UvEnvironments
from algodock_deployer.clients.fakes import FakeRegistry, FakeRouters
from algodock_deployer.clients.model_cache import ModelCache
from algodock_deployer.clients.model_hubs import Hubs
from algodock_deployer.clients.node import NodeEnvironments
from algodock_deployer.clients.probes import HttpProber
from algodock_deployer.clients.processes import ProcessDriver
from algodock_deployer.clients.sandbox import Sandbox
from algodock_deployer.clients.sdk import SdkPackage
from algodock_deployer.clients.supervisor import SupervisorDriver
from algodock_deployer.clients.tools import run_tool
from algodock_deployer.domain.folders import Folders
from algodock_deployer.domain.releases import Release
from algodock_deployer.handlers import Context, ServiceView, Tuning
from algodock_deployer.repository import Instances
from algodock_deployer.repository.tables import metadata
from algodock_deployer.schedule import Schedule

QUICK = Tuning(start_timeout_s=20, drain_extra_s=1, patience_s=5, heartbeat_url="http://127.0.0.1:9/heartbeat")
Found = TypeVar("Found")


class Maker(Protocol):
    """Makes deployers that share one node: one after another, as after a crash."""

    def __call__(
        self,
        registry: FakeRegistry | None = None,
        tuning: Tuning | None = None,
        confinement: Confinement | None = None,
        devices: Devices | None = None,
        processes: ProcessDriver | None = None,
    ) -> AbstractAsyncContextManager[Deployer]: ...


SERVER = """
import json, os
from http.server import BaseHTTPRequestHandler, HTTPServer
class Handler(BaseHTTPRequestHandler):
    def do_GET(self):
        body = json.dumps({"version": "VERSION", "release": os.environ["ALGODOCK_RELEASE"]}).encode()
        self.send_response(200); self.send_header("content-type", "application/json")
        self.send_header("content-length", str(len(body))); self.end_headers(); self.wfile.write(body)
    do_POST = do_GET
    def log_message(self, *_): pass
print("serving VERSION", flush=True)
HTTPServer((os.environ["HOST"], int(os.environ["PORT"])), Handler).serve_forever()
"""
"""A program without any requirement, so that tests wait for no index."""


def program(version: str, *, before: str = "") -> dict[str, str]:
    return {"main.py": before + SERVER.replace("VERSION", version)}


def bundle(files: dict[str, str]) -> bytes:
    stream = io.BytesIO()
    with tarfile.open(fileobj=stream, mode="w:gz") as archive:
        for name, text in files.items():
            info = tarfile.TarInfo(name)
            info.size = len(text.encode())
            archive.addfile(info, io.BytesIO(text.encode()))
    return stream.getvalue()


@dataclass
class Deployer:
    """The handlers' context, its fakes, and short words for what tests do."""

    context: Context
    store: FakeObjectStore
    registry: FakeRegistry
    routers: FakeRouters
    processes: ProcessDriver
    ids: dict[str, UUID] = field(default_factory=dict)

    @staticmethod
    def program(version: str, *, before: str = "") -> dict[str, str]:
        return program(version, before=before)

    async def push(self, name: str, files: dict[str, str] | None = None, *, commit: str = "", problem: str = "") -> str:
        commit = commit or os.urandom(20).hex()
        key = None
        if files is not None:
            key = f"bundles/{name}/{commit}.tar.gz"
            await self.store.put(key, bundle(files))
        code = CodePushed(
            repository_id=uuid4(),
            repository=f"algodock/{name}",
            algorithm_id=self.ids.setdefault(name, uuid4()),
            algorithm=name,
            ref="refs/heads/main",
            commit=commit,
            bundle_key=key,
            problem=problem or None,
            message="change",
        )
        await handlers.take_push(self.context, Event.of(code, source="/test"))
        return commit

    async def command(self, name: str, action: str, *, actor: str = "", **arguments: Any) -> UUID:
        command = ServiceCommand(
            operation_id=uuid7(),
            algorithm_id=self.ids[name],
            algorithm=name,
            action=action,
            arguments=arguments,
            actor=actor,
        )
        await handlers.take_command(self.context, Event.of(command, source="/test"))
        return command.operation_id

    async def release(self, name: str, commit: str, *states: str, seconds: float = 120) -> Release:
        """Wait until the commit's release is in one of ``states``."""

        async def look() -> Release | None:
            found = await handlers.releases_of(self.context, name, commit=commit, limit=1)
            return found[0] if found and found[0].state in states else None

        return await eventually(look, seconds, f"{name} {commit[:8]} to be {states}")

    async def live(self, name: str, files: dict[str, str] | None = None, **push: str) -> Release:
        commit = await self.push(name, files, **push)
        release = await self.release(name, commit, "live", "failed")
        assert release.state == "live", release.reason
        await self.named(name)
        return release

    async def service(self, name: str) -> ServiceView:
        return await handlers.find_service(self.context, name)

    async def status(self, name: str, status: str, seconds: float = 120) -> ServiceView:
        async def look() -> ServiceView | None:
            view = await self.service(name)
            return view if view.service.status == status else None

        return await eventually(look, seconds, f"{name} to be {status}")

    async def answer(self, name: str) -> dict[str, str]:
        """Ask the service's first instance; one that was just started again may not listen yet."""

        async def look() -> dict[str, str] | None:
            view = await self.service(name)
            with suppress(httpx.TransportError):
                found: dict[str, str] = (await client.get(f"{view.instances[0].base_url}/")).json()
                return found
            return None

        async with httpx.AsyncClient(trust_env=False) as client:
            return await eventually(look, 60, f"{name} to answer")

    async def named(self, name: str) -> None:
        """Wait until the stable names point at what serves, which they do right after the switch."""
        ports = self.context.folders.config / "ports.py"

        async def look() -> bool | None:
            return (ports.exists() and f"'{name}'" in ports.read_text()) or None

        await eventually(look, 60, f"{name} to be among the ports")

    async def gone(self, url: str, seconds: float = 120) -> None:
        async def look() -> bool | None:
            async with httpx.AsyncClient(trust_env=False) as client:
                with suppress(httpx.HTTPError):
                    await client.get(url, timeout=1)
                    return None
            return True

        await eventually(look, seconds, f"{url} to be gone")

    async def events(self, name: str) -> list[ReleaseChanged]:
        async with self.context.database.read() as session:
            rows = (await session.execute(sa.select(outbox.c.event).order_by(outbox.c.id))).scalars()
            found = [Event[ReleaseChanged].model_validate_json(row).data for row in rows]
        return [one for one in found if one.algorithm == name]

    async def drains(self) -> None:
        """Let the registry say of every draining instance that it drains, as its events would."""
        for event in await self._draining():
            await self.context.drains.post(event, self.registry.drain(event))

    async def _draining(self) -> list[UUID]:
        async with self.context.database.read() as session:
            rows = await Instances(session).of_node(self.context.node_id)
        return [one.id for one in rows if one.phase == "draining"]


async def eventually(look: Callable[[], Awaitable[Found | None]], seconds: float, what: str) -> Found:
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        found = await look()
        if found:
            return found
        await asyncio.sleep(0.05)
    pytest.fail(f"not within {seconds} s: {what}")


@pytest.fixture(scope="session")
def uv() -> str:
    beside = Path(sys.executable).parent / "uv"
    found = os.environ.get("UV") or (str(beside) if beside.exists() else shutil.which("uv"))
    if not found:
        pytest.fail("these tests build environments, and there is no uv")
    return found


@pytest.fixture(scope="session")
def environments_root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Share uv's cache and environments between tests: each is built once."""
    return tmp_path_factory.mktemp("environments")


@pytest.fixture
async def database(database_settings: DatabaseSettings) -> AsyncIterator[Database]:
    await migrate(database_settings, schema="deployer", migrations="algodock_deployer.migrations")
    database = Database(database_settings, schema="deployer", source="/deployer")
    async with database.engine.begin() as connection:  # names of services are a test's own
        tables = ", ".join(f"deployer.{table.name}" for table in metadata.sorted_tables)
        await connection.execute(sa.text(f"TRUNCATE {tables} CASCADE"))
    yield database
    await database.engine.dispose()


@pytest.fixture
def root(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    path = tmp_path_factory.mktemp("d")
    yield path
    begun, pid_file = path / "algorithms" / "supervisord.conf", path / "algorithms" / "supervisord.pid"
    end = time.monotonic() + 5
    while begun.exists() and not pid_file.exists() and time.monotonic() < end:
        time.sleep(0.1)  # a short test may end before its supervisord has come up
    with suppress(OSError, ValueError):
        os.kill(int(pid_file.read_text()), signal.SIGTERM)


@pytest.fixture
def make(database: Database, root: Path, environments_root: Path, uv: str) -> Maker:
    @asynccontextmanager
    async def made(
        registry: FakeRegistry | None = None,
        tuning: Tuning | None = None,
        confinement: Confinement | None = None,
        devices: Devices | None = None,
        processes: ProcessDriver | None = None,
    ) -> AsyncIterator[Deployer]:
        folders = Folders(root, root / "services")
        store, routers, prober = FakeObjectStore(), FakeRouters(), HttpProber()
        registry = registry or FakeRegistry()
        sandbox = Sandbox(61200, wanted=False)
        environments = UvEnvironments(
            environments_root, uv=uv, store=store, sandbox=sandbox, sdk=SdkPackage.installed()
        )
        downloads = Downloads()
        models = ModelCache(folders.models, store=store, downloads=downloads, hubs=Hubs(downloads))
        processes = processes or SupervisorDriver(
            folders.algorithms, folders.algorithms / "programs", folders.logs / "supervisord.log"
        )
        context = Context(
            database=database, store=store, processes=processes, environments=environments,
            node=NodeEnvironments(environments), models=models, devices=devices or NvidiaSmi(None),
            vault=Vault(SecretSettings(secret_key=SecretStr("k" * 32)), "deployer/secrets"), prober=prober,
            registry=registry, routers=routers,
            sandbox=sandbox,
            tools=run_tool, folders=folders, node_id=f"node-{root.name}", tuning=tuning or QUICK,
            confinement=confinement or Unconfined(),
        )  # fmt: skip
        schedule = Schedule(context, reconcile_every_s=0.5, watch_every_s=0.2)
        schedule.start()
        try:
            yield Deployer(context, store, registry, routers, processes)
        finally:
            await schedule.stop()
            await prober.close()

    return made


@pytest.fixture
async def deployer(make: Maker) -> AsyncIterator[Deployer]:
    async with make() as deployer:
        yield deployer
