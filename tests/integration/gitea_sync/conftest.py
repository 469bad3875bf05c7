"""A whole gitea-sync on real servers, with git itself as its client and a deployer that tells what it is told to."""

from __future__ import annotations

import asyncio
import json
import os
import shutil
import socket
import subprocess
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any, Literal
from urllib.parse import parse_qs, urlsplit
from uuid import UUID

import httpx
import pytest
import uvicorn

from algodock_common.errors import Unavailable
from algodock_common.events import AlgorithmChanged, CodePushed, Event
from algodock_common.identifiers import uuid7
from algodock_common.messaging import Bus
from algodock_common.storage import MinioObjectStore
from algodock_common.web import IDENTITY_HEADER, Identity, new_identity_keys, sign_identity
from algodock_gitea_sync.main import create_app
from algodock_gitea_sync.settings import Settings

GIT = shutil.which("git") or "git"
MAX_PUSH = 2_000_000


def eventually(look: Callable[[], Any], seconds: float = 120) -> Any:
    end, seen = time.monotonic() + seconds, None
    while time.monotonic() < end:
        seen = look()
        if seen:
            return seen
        time.sleep(0.02)
    pytest.fail(f"not within {seconds} s; last seen: {seen!r}")


def free_port() -> int:
    with socket.socket() as s:
        s.bind(("127.0.0.1", 0))
        return int(s.getsockname()[1])


class StubDeployer:
    """Answers ``GET /internal/services/<name>/releases?commit=`` with what a test put into ``releases``."""

    def __init__(self) -> None:
        stub = self
        self.releases: Callable[[str], list[dict[str, Any]]] = lambda commit: [live(commit)]
        self.status = 200

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                commit = parse_qs(urlsplit(self.path).query)["commit"][0]
                body = json.dumps({"releases": stub.releases(commit)}).encode()
                self.send_response(stub.status)
                self.end_headers()
                self.wfile.write(body)

            def log_message(self, format: str, *args: object) -> None:  # noqa: A002  # the base class's name
                pass

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self._server.server_port}"
        threading.Thread(target=self._server.serve_forever, daemon=True).start()

    def close(self) -> None:
        self._server.shutdown()
        self._server.server_close()


def live(commit: str, state: str = "live", **more: Any) -> dict[str, Any]:
    now = time.strftime("%Y-%m-%dT%H:%M:%S+00:00", time.gmtime())
    steps = [{"name": "build", "started_at": now, "ended_at": now, "detail": "environment unchanged"}]
    return {"id": str(uuid7()), "commit": commit, "state": state, "created_at": now, "steps": steps, **more}


@dataclass
class Service:
    """A running gitea-sync and what a test needs to speak to it as the gateway would."""

    url: str
    settings: Settings
    deployer: StubDeployer
    pushed: list[CodePushed] = field(default_factory=list)

    @property
    def headers(self) -> dict[str, str]:
        private = os.environ["IDENTITY_PRIVATE_KEY"]
        who = sign_identity(Identity("key-1", "ada", ("user",)), private)
        return {"authorization": f"Bearer {self.settings.secrets.service_token()}", IDENTITY_HEADER: who}

    def client(self) -> httpx.Client:
        return httpx.Client(base_url=self.url, headers=self.headers, timeout=30)

    def events(self, commit: str, count: int = 1, seconds: float = 120) -> list[CodePushed]:
        """Wait for ``count`` events of ``commit`` and return them."""

        def found() -> list[CodePushed]:
            events = [event for event in self.pushed if event.commit == commit]
            return events if len(events) >= count else []

        events: list[CodePushed] = eventually(found, seconds)
        return events

    def tell(self, repo: Work, state: Literal["created", "changed", "archived"], sequence: int) -> None:
        """Publish what the gateway publishes when an algorithm changes."""
        data = AlgorithmChanged(
            algorithm_id=UUID(repo.algorithm_id), algorithm=repo.algorithm, state=state, owner="ada"
        )
        event = Event.of(data, source="/gateway").model_copy(update={"sequence": sequence})

        async def publish() -> None:
            bus = Bus(self.settings.kafka, self.settings.secrets, service="gateway")
            await bus.start()
            try:
                for _ in range(600):
                    if await _is_up(bus):
                        break
                    await asyncio.sleep(0.05)
                await bus.publish(event)
            finally:
                await bus.stop()

        asyncio.run(publish())

    eventually = staticmethod(eventually)
    live = staticmethod(live)
    free_port = staticmethod(free_port)

    def another(self, settings: Settings) -> running:
        """Return a second gitea-sync beside this one."""
        return running(settings)

    def bundle(self, event: CodePushed, folder: Path) -> Path:
        assert event.bundle_key is not None
        path = folder / "bundle.tar.gz"
        store = MinioObjectStore(self.settings.objects)
        asyncio.run(store.get_file(event.bundle_key, path))
        return path


async def _is_up(bus: Bus) -> bool:
    try:
        await bus.check()
    except Unavailable:
        return False
    return True


def _collect(service: Service, stop: threading.Event) -> None:
    async def run() -> None:
        from aiokafka import AIOKafkaConsumer

        consumer = AIOKafkaConsumer(
            "code.pushed",
            bootstrap_servers=service.settings.kafka.bootstrap,
            auto_offset_reset="earliest",
            fetch_max_wait_ms=50,
            metadata_max_age_ms=1000,
        )
        await consumer.start()
        try:
            while not stop.is_set():
                for messages in (await consumer.getmany(timeout_ms=200)).values():
                    service.pushed.extend(CodePushed.model_validate(json.loads(m.value)["data"]) for m in messages)
        finally:
            await consumer.stop()

    asyncio.run(run())


@pytest.fixture(scope="module")
def environment(
    server_environment: dict[str, str],  # noqa: ARG001  # has the servers named in the environment
    tmp_path_factory: pytest.TempPathFactory,
) -> Iterator[pytest.MonkeyPatch]:
    private, public = new_identity_keys()
    with pytest.MonkeyPatch.context() as patch:
        data = tmp_path_factory.mktemp("gitea-sync")
        port = free_port()
        for name, value in {
            "ALGODOCK_DATA_DIR": str(data),
            "ALGODOCK_NODE_ID": "here",
            "SECRET_KEY": "s" * 40,
            "IDENTITY_PRIVATE_KEY": private,
            "IDENTITY_PUBLIC_KEY": public,
            "HTTP_PORT": str(port),
            "GATEWAY_URL": f"http://127.0.0.1:{port}",
            "PUBLIC_URL": f"http://localhost:{port}",
            "S3_BUCKET": f"gitea-sync-{uuid7().hex[-8:]}",
            "GIT_MAX_PUSH_BYTES": str(MAX_PUSH),
            "GIT_POLL_INTERVAL_S": "1000",
            "GIT_HOOK_WAIT_S": "10",
            "LOG_LEVEL": "warning",
        }.items():
            patch.setenv(name, value)
        yield patch


@pytest.fixture(scope="module")
def service(environment: pytest.MonkeyPatch) -> Iterator[Service]:
    deployer = StubDeployer()
    environment.setenv("DEPLOYER_URL", deployer.url)
    settings = Settings()
    with running(settings) as url:
        made = Service(url, settings, deployer)
        stop = threading.Event()
        collector = threading.Thread(target=_collect, args=(made, stop), daemon=True)
        collector.start()
        yield made
        stop.set()
        collector.join(10)
    deployer.close()


class running:  # noqa: N801  # reads as a word: with running(settings) as url
    """Serve gitea-sync in a thread of its own."""

    def __init__(self, settings: Settings, **more: Any) -> None:
        config = uvicorn.Config(
            create_app(settings, **more),
            host="127.0.0.1",
            port=settings.http.port,
            log_config=None,
            access_log=False,
            loop="uvloop",
            http="httptools",
            lifespan="on",
            timeout_graceful_shutdown=3,
        )
        self._server = uvicorn.Server(config)
        self._url = f"http://127.0.0.1:{settings.http.port}"
        self._thread = threading.Thread(target=self._server.run, daemon=True)

    def __enter__(self) -> str:
        self._thread.start()
        eventually(lambda: self._server.started or not self._thread.is_alive(), 30)
        assert self._server.started, "gitea-sync did not start"
        return self._url

    def __exit__(self, *_: object) -> None:
        self._server.should_exit = True
        self._thread.join(15)


class Work:
    """A working copy whose pushes go to the built-in forge as the gateway would pass them on."""

    def __init__(self, service: Service, folder: Path, algorithm: str) -> None:
        self.service, self.algorithm, self.dir = service, algorithm, folder / algorithm
        with service.client() as client:
            self.algorithm_id = str(uuid7())
            body = {"algorithm_id": self.algorithm_id, "algorithm": algorithm, "owner": "ada"}
            self.row = client.post("/internal/repositories", json=body).raise_for_status().json()
        self.dir.mkdir()
        self.git("init", "-q", "-b", "main")
        self.git("remote", "add", "origin", self.row["clone_url"])

    def run(self, *args: str, check: bool = True) -> subprocess.CompletedProcess[str]:
        extra = [word for k, v in self.service.headers.items() for word in ("-c", f"http.extraHeader={k}: {v}")]
        who = ["-c", "user.name=Ada", "-c", "user.email=ada@example.com"]
        done = subprocess.run(
            [GIT, *extra, *who, *args], cwd=self.dir, text=True, capture_output=True, timeout=60, check=False
        )
        assert not check or done.returncode == 0, done.stderr
        return done

    def git(self, *args: str) -> str:
        return self.run(*args).stdout.strip()

    def commit(self, message: str = "", **files: str) -> str:
        for name, text in files.items():
            (self.dir / name.replace("__", ".")).write_text(text)
        self.git("add", "-A")
        self.git("commit", "-q", "--allow-empty", "-m", message or f"Change {self.algorithm}")
        return self.git("rev-parse", "HEAD")

    def push(self, *args: str, check: bool = True) -> str:
        """Push and return what was shown, ``remote:`` lines among it."""
        return self.run("push", *(args or ("origin", "HEAD")), check=check).stderr

    def deliveries(self) -> list[dict[str, Any]]:
        with self.service.client() as client:
            answer = client.get(f"/internal/repositories/{self.algorithm}/deliveries").raise_for_status().json()
            return list(answer["deliveries"])

    def state(self) -> dict[str, Any]:
        with self.service.client() as client:
            answer: dict[str, Any] = client.get(f"/internal/repositories/{self.algorithm}").raise_for_status().json()
            return answer


@pytest.fixture
def work(service: Service, tmp_path: Path) -> Callable[[str], Work]:
    def make(prefix: str = "algo") -> Work:
        return Work(service, tmp_path, f"{prefix}-{uuid7().hex[-6:]}")

    return make
