"""A real nginx with a generated configuration, in front of small servers: a gateway that stands in, and gRPC peers."""

from __future__ import annotations

import asyncio
import os
import shutil
import threading
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import grpc
import pytest

from algodock_deployer.clients.fakes import _free_port
from algodock_deployer.clients.nginx import Nginx
from algodock_deployer.domain.edge import Site, render
from algodock_deployer.domain.edge_grpc import GrpcServer, GrpcService
from tests.outside.grpc_peers import GrpcPeer

KEY = "good"
TOKEN = "service-token"
SCRIPT = b"const x = 1;\n" * 1000


@dataclass
class StandIn:
    """What the edge needs of a gateway; ``asked`` are the calls that it was asked about."""

    port: int
    asked: list[tuple[str, str, str | None]] = field(default_factory=list)
    heads: list[dict[str, str]] = field(default_factory=list)
    go_on: threading.Event = field(default_factory=threading.Event)


def _handler(stand_in: StandIn) -> type[BaseHTTPRequestHandler]:  # noqa: C901  # one class with all that it answers
    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_GET(self) -> None:
            if self.path.startswith("/internal/"):
                self._internal()
            elif self.path == "/api/v1/stream":
                self._stream()
            elif self.path.startswith("/assets/"):
                self._answer(200, SCRIPT, "application/javascript")
            else:
                stand_in.heads.append({name.lower(): value for name, value in self.headers.items()})
                self._answer(200, b'{"path": "%s"}' % self.path.encode(), "application/json")

        do_POST = do_GET  # noqa: N815  # the standard library names it

        def _internal(self) -> None:
            if self.headers["authorization"] != f"Bearer {TOKEN}":
                self._answer(401, b"")
            elif self.path == "/internal/edge/authorise":
                shown = self.headers["x-edge-authorization"]
                stand_in.asked.append((self.headers["x-edge-service"], self.headers["x-edge-method"], shown))
                self._answer(204 if shown == f"Bearer {KEY}" else 401, b"")
            else:
                name = self.path.rpartition("/")[2]
                self._answer(200 if name == "echo-one" else 404, b'{"service": "%s"}' % name.encode())

        def _stream(self) -> None:
            self.send_response(200)
            self.send_header("content-type", "text/event-stream")
            self.send_header("transfer-encoding", "chunked")
            self.end_headers()
            self.wfile.write(b'f\r\ndata: {"n": 1}\n\r\n')
            self.wfile.flush()
            stand_in.go_on.wait(60)
            self.wfile.write(b'f\r\ndata: {"n": 2}\n\r\n0\r\n\r\n')

        def _answer(self, status: int, body: bytes, kind: str = "application/json") -> None:
            self.send_response(status)
            if status != 204:
                self.send_header("content-type", kind)
                self.send_header("content-length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_: object) -> None:
            pass

    return Handler


@contextmanager
def standing_in(port: int = 0) -> Iterator[StandIn]:
    stand_in = StandIn(port)
    server = ThreadingHTTPServer(("127.0.0.1", port), _handler(stand_in))
    server.daemon_threads = True
    stand_in.port = server.server_address[1]
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05})
    thread.start()
    try:
        yield stand_in
    finally:
        stand_in.go_on.set()
        server.shutdown()
        server.server_close()
        thread.join()


def nginx_binary() -> str:
    search = os.pathsep.join([os.environ.get("PATH", os.defpath), "/usr/sbin"])
    found = shutil.which(os.environ.get("NGINX_BINARY", "nginx"), path=search)
    assert found, "nginx is not on this machine (apt-get install nginx), and NGINX_BINARY names none"
    return found


class Front:
    """An nginx that serves by what a test says."""

    def __init__(self, site: Site) -> None:
        self.site = site
        self.nginx = Nginx(site.folder, nginx_binary())

    def serve(self, *services: GrpcService, **changed: Any) -> Site:
        site = replace(self.site, **changed)
        asyncio.run(self.nginx.apply(render(site, services)))
        return site

    @property
    def grpc_port(self) -> int:
        return int(self.site.grpc.rpartition(":")[2])

    @property
    def url(self) -> str:
        return f"http://{self.site.http}"

    def call(  # a call's parts
        self,
        path: str,
        body: bytes = b"hello",
        *,
        key: str | None = KEY,
        metadata: Iterable[tuple[str, str]] = (),
        channel: grpc.Channel | None = None,
    ) -> bytes:
        """Make one unary call."""
        shown = [] if key is None else [("authorization", f"Bearer {key}")]
        with channel or grpc.insecure_channel(self.site.grpc) as opened:
            answer: bytes = opened.unary_unary(path)(body, metadata=[*shown, *metadata], timeout=60)
            return answer

    def refused(self, path: str, **options: Any) -> tuple[str, str]:
        """Make a call that fails; return its code and what it says."""
        with pytest.raises(grpc.RpcError) as failed:
            self.call(path, **options)
        error: Any = failed.value
        return error.code().name, error.details()


def service(name: str, *peers: GrpcPeer, **options: Any) -> GrpcService:
    return GrpcService(name, tuple(GrpcServer("127.0.0.1", peer.port) for peer in peers), **options)


@pytest.fixture(scope="module")
def _standing_in() -> Iterator[StandIn]:
    with standing_in() as stand_in:
        yield stand_in


@pytest.fixture
def gateway(_standing_in: StandIn) -> StandIn:
    _standing_in.asked.clear()
    _standing_in.heads.clear()
    return _standing_in


@pytest.fixture(scope="module")
def front(tmp_path_factory: pytest.TempPathFactory, _standing_in: StandIn) -> Iterator[Front]:
    """Run one nginx for a module: each test gives it a configuration, and starting it anew costs seconds."""
    http, https, port = (f"127.0.0.1:{_free_port('127.0.0.1')}" for _ in range(3))
    site = Site(
        tmp_path_factory.mktemp("edge") / "algorithms" / "edge",
        (f"127.0.0.1:{_standing_in.port}",),
        TOKEN,
        http=http,
        https=https,
        grpc=port,
        workers="2",
    )
    front = Front(site)
    yield front
    asyncio.run(front.nginx.stop())
