"""What the way from containers to the platform takes, what it refuses, and where it cannot be opened."""

from __future__ import annotations

import asyncio
import contextlib
import socket
from collections.abc import AsyncIterator, Awaitable, Callable
from ipaddress import IPv4Network
from pathlib import Path

import httpx
import pytest
from aiohttp import web

from algodock_deployer.clients.container_heartbeats import BODY_BYTES, ContainerHeartbeats, HeartbeatForward
from algodock_deployer.clients.docker_engine import Engine

HERE, LOOPBACK = "127.0.0.1", IPv4Network("127.0.0.0/8")
OWN = {"authorization": "Bearer adi_own"}


class Registry:
    """Keeps what comes to it by any path, and answers as the registry does."""

    def __init__(self) -> None:
        self.came: list[tuple[str, str, dict[str, str], bytes]] = []
        self.url = ""

    async def serve(self, request: web.Request) -> web.Response:
        headers = {name.lower(): value for name, value in request.headers.items()}
        self.came.append((request.method, request.path, headers, await request.read()))
        if request.headers.get("authorization") != OWN["authorization"]:
            return web.json_response({"status": 401}, status=401, content_type="application/problem+json")
        return web.Response(status=204)


Handler = Callable[[web.Request], Awaitable[web.Response]]


@contextlib.asynccontextmanager
async def served(handler: Handler, place: Path | socket.socket | None = None) -> AsyncIterator[int]:
    """Serve ``handler`` for every path, at a loopback port unless ``place`` says where; give the port."""
    app = web.Application()
    app.router.add_route("*", "/{path:.*}", handler)
    runner = web.AppRunner(app, shutdown_timeout=1)
    await runner.setup()
    try:
        if isinstance(place, Path):
            await web.UnixSite(runner, str(place)).start()
        elif place is not None:
            await web.SockSite(runner, place).start()
        else:
            await web.TCPSite(runner, HERE, 0).start()
        yield 0 if isinstance(place, Path) else runner.addresses[0][1]
    finally:
        await runner.cleanup()


@pytest.fixture
async def registry() -> AsyncIterator[Registry]:
    one = Registry()
    async with served(one.serve) as port:
        one.url = f"http://{HERE}:{port}/heartbeat"
        yield one


@contextlib.asynccontextmanager
async def opened(target: str, senders: IPv4Network = LOOPBACK, **more: float) -> AsyncIterator[str]:
    forward = HeartbeatForward(target, **more)  # type: ignore[arg-type]
    port = await forward.open(HERE, 0, senders)
    try:
        yield f"http://{HERE}:{port}"
    finally:
        await forward.close()


async def call(method: str, url: str, **more: object) -> httpx.Response:
    async with httpx.AsyncClient(trust_env=False, timeout=60) as client:
        return await client.request(method, url, **more)  # type: ignore[arg-type]


async def raw(url: str, sent: bytes) -> bytes:
    """Send bytes and return all that comes until the other side ends."""
    reader, writer = await asyncio.open_connection(HERE, httpx.URL(url).port)
    writer.write(sent)
    try:
        async with asyncio.timeout(60):
            return await reader.read()
    finally:
        writer.close()


async def test_a_beat_arrives_with_its_token_and_nothing_else_of_its_sender(registry: Registry) -> None:
    async with opened(registry.url) as url:
        more = {"x-algodock-identity": "root", "cookie": "a=b", "content-type": "application/json"}
        answer = await call("POST", f"{url}/heartbeat", headers=OWN | more, content=b'{"status": "ok"}')
        assert (answer.status_code, answer.content) == (204, b"")
        ((method, path, headers, body),) = registry.came
        assert (method, path, body) == ("POST", "/heartbeat", b'{"status": "ok"}')
        assert set(headers) <= {
            "host", "accept", "accept-encoding", "connection", "user-agent", "authorization", "content-type",
            "content-length",
        }  # fmt: skip
        assert (headers["authorization"], headers["content-type"]) == (OWN["authorization"], "application/json")


async def test_a_wrong_token_is_refused_by_the_registrys_own_answer(registry: Registry) -> None:
    async with opened(registry.url) as url:
        answer = await call("POST", f"{url}/heartbeat", headers={"authorization": "Bearer \xe9".encode("latin-1")})
        assert (answer.status_code, answer.json()) == (401, {"status": 401})
        assert answer.headers["content-type"].startswith("application/problem+json")


@pytest.mark.parametrize(
    ("method", "path", "status"),
    [
        ("POST", "/internal/instances", 404),
        ("POST", "/heartbeat/", 404),
        ("POST", "/heartbeat?x=1", 404),
        ("POST", "/heartbeat/../internal/instances", 404),
        ("GET", "/", 404),
        ("GET", "/heartbeat", 405),
        ("DELETE", "/heartbeat", 405),
    ],
)
async def test_no_other_path_or_method_reaches_the_platform(
    method: str, path: str, status: int, registry: Registry
) -> None:
    async with opened(registry.url) as url:
        answer = await raw(url, f"{method} {path} HTTP/1.1\r\nhost: x\r\n\r\n".encode())
    assert int(answer.split()[1]) == status, answer
    assert not registry.came


@pytest.mark.parametrize("declared", [True, False])
async def test_a_body_that_is_too_large_is_refused(declared: bool, registry: Registry) -> None:  # noqa: FBT001  # pytest's
    async def parts() -> AsyncIterator[bytes]:
        for _ in range(3):
            yield b"x" * (BODY_BYTES // 2)

    content = b"x" * (BODY_BYTES + 1) if declared else parts()
    async with opened(registry.url) as url:
        answer = await call("POST", f"{url}/heartbeat", headers=OWN, content=content)
        assert answer.status_code == 413
        assert f"at most {BODY_BYTES} bytes" in answer.json()["detail"]
        head = f"POST /heartbeat HTTP/1.1\r\nhost: x\r\ncontent-length: {BODY_BYTES + 1}\r\n\r\n"
        assert (await raw(url, head.encode())).startswith(b"HTTP/1.1 413 "), "its length says enough"
        exact = await call("POST", f"{url}/heartbeat", headers=OWN, content=b"x" * BODY_BYTES)
        assert exact.status_code == 204
    assert len(registry.came) == 1


@pytest.mark.parametrize(
    "begun", [b"", b"POST /heart", b"POST /heartbeat HTTP/1.1\r\nhost: x\r\ncontent-length: 9\r\n\r\nslow"]
)
async def test_a_slow_sender_is_let_go(begun: bytes, registry: Registry) -> None:
    async with opened(registry.url, patience_s=0.2) as url:
        answer = await raw(url, begun)
    assert answer.startswith(b"HTTP/1.1 408 "), answer
    assert not registry.came


@pytest.mark.parametrize(
    ("sent", "status"),
    [
        (b"\x16\x03\x01\x00\r\n\r\n", 400),
        (b"POST /heartbeat HTTP/1.1\r\nhost: x\r\ncontent-length: 1\r\ncontent-length: 2\r\n\r\nab", 400),
        (b"POST /heartbeat HTTP/1.1\r\nhost: x\r\nx: " + b"x" * 20_000 + b"\r\n\r\n", 431),
    ],
)
async def test_what_is_no_request_is_said_so(sent: bytes, status: int, registry: Registry) -> None:
    async with opened(registry.url) as url:
        answer = await raw(url, sent)
    assert int(answer.split()[1]) == status, answer
    assert not registry.came


async def test_one_sender_cannot_take_all_connections(registry: Registry) -> None:
    async with opened(registry.url, connections_each=2) as url:
        port = httpx.URL(url).port
        held = [await asyncio.open_connection(HERE, port) for _ in range(2)]
        reader, writer = await asyncio.open_connection(HERE, port)
        with contextlib.suppress(ConnectionError):
            async with asyncio.timeout(60):
                assert await reader.read() == b"", "ended without a word"
        other = httpx.AsyncHTTPTransport(local_address="127.0.0.2")
        async with httpx.AsyncClient(transport=other, timeout=60) as client:
            assert (await client.post(f"{url}/heartbeat", headers=OWN)).status_code == 204, "another's gets through"
        for one in (writer, *(writer for _, writer in held)):
            one.close()


async def test_who_is_not_in_the_containers_network_gets_no_answer(registry: Registry) -> None:
    async with opened(registry.url, IPv4Network("172.17.0.0/16")) as url:
        with pytest.raises(httpx.TransportError):
            await call("POST", f"{url}/heartbeat", headers=OWN)
    assert not registry.came


async def test_a_registry_that_is_away_is_said_and_found_again() -> None:
    registry = Registry()
    with socket.socket() as kept:  # bound, and nobody listens yet
        kept.bind((HERE, 0))
        async with opened(f"http://{HERE}:{kept.getsockname()[1]}/heartbeat") as url:
            away = await call("POST", f"{url}/heartbeat", headers=OWN)
            assert (away.status_code, away.headers["retry-after"]) == (503, "1")
            assert "cannot be reached" in away.json()["detail"]
            async with served(registry.serve, kept):
                assert (await call("POST", f"{url}/heartbeat", headers=OWN)).status_code == 204


class Bridge:
    """An engine's answer to what its network is; `tests/docker` asks a real one."""

    def __init__(self) -> None:
        self.config: list[dict[str, str]] | None = [{"Subnet": str(LOOPBACK), "Gateway": HERE}]

    async def serve(self, request: web.Request) -> web.Response:
        if request.path.endswith("/version"):
            return web.json_response({"ApiVersion": "1.41", "MinAPIVersion": "1.24"})
        if self.config is None:
            return web.json_response({"message": "network bridge not found"}, status=404)
        return web.json_response({"Id": "bridge", "IPAM": {"Config": self.config}})


@pytest.fixture
async def bridge(tmp_path: Path) -> AsyncIterator[tuple[Bridge, Engine]]:
    one, engine = Bridge(), Engine(f"unix://{tmp_path}/engine.sock")
    async with served(one.serve, tmp_path / "engine.sock"):
        yield one, engine
        await engine.close()


async def test_the_next_deployer_listens_where_the_one_before_did(
    bridge: tuple[Bridge, Engine], registry: Registry, tmp_path: Path
) -> None:
    first = ContainerHeartbeats(tmp_path, bridge[1], registry.url)
    url = await first.open()
    assert await first.open() == url
    assert (await call("POST", url, headers=OWN)).status_code == 204
    await first.close()
    with pytest.raises(httpx.ConnectError):
        await call("POST", url, headers=OWN)
    second = ContainerHeartbeats(tmp_path, bridge[1], registry.url)
    assert await second.open() == url
    third = ContainerHeartbeats(tmp_path, bridge[1], registry.url)
    assert await third.open() not in {"", url}, "a port that is taken is left to whoever has it"
    assert [await one.state() for one in (first, second, third)] == ["", "", ""]
    for one in (second, third):
        await one.close()


@pytest.mark.parametrize("note", ["", "99999", "-1", "port"])
async def test_a_damaged_note_of_the_port_is_none(note: str, bridge: tuple[Bridge, Engine], tmp_path: Path) -> None:
    (tmp_path / "heartbeats").write_text(note)
    heartbeats = ContainerHeartbeats(tmp_path, bridge[1], "http://127.0.0.1:9/heartbeat")
    url = await heartbeats.open()
    assert (tmp_path / "heartbeats").read_text() == str(httpx.URL(url).port)
    await heartbeats.close()


@pytest.mark.parametrize(
    ("config", "why"),
    [
        ([{"Subnet": "203.0.113.0/24", "Gateway": "203.0.113.1"}], "203.0.113.1"),
        ([{"Subnet": "fd00::/64", "Gateway": "fd00::1"}], "no IPv4 gateway"),
        ([{"Subnet": "172.17.0.0/16"}], "no IPv4 gateway"),
        (None, "network bridge not found"),
    ],
)
async def test_an_address_that_is_not_this_machines_is_said_and_looked_for_again(
    config: list[dict[str, str]] | None,
    why: str,
    bridge: tuple[Bridge, Engine],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("algodock_deployer.clients.container_heartbeats.LOOK_EVERY_S", 0.0)
    good, bridge[0].config = bridge[0].config, config
    heartbeats = ContainerHeartbeats(tmp_path, bridge[1], "http://127.0.0.1:9/heartbeat")
    assert await heartbeats.open() == ""
    said = await heartbeats.state()
    assert said.startswith("containers send no heartbeats and are probed: ")
    assert why in said
    bridge[0].config = good
    assert (await heartbeats.open()).startswith(f"http://{HERE}:")
    assert await heartbeats.state() == ""
    bridge[0].config = config
    assert await heartbeats.open() == "", "the network's address has changed"
    await heartbeats.close()
    assert await heartbeats.state() == "", "no containers, nothing to say"


async def test_another_machines_engine_is_not_asked(tmp_path: Path) -> None:
    heartbeats = ContainerHeartbeats(tmp_path, Engine("tcp://127.0.0.1:9"), "http://127.0.0.1:9/heartbeat")
    assert await heartbeats.open() == ""
    assert "the engine at tcp://127.0.0.1:9 may be another machine's" in await heartbeats.state()


async def test_another_look_at_the_same_address_ends_no_request(
    bridge: tuple[Bridge, Engine], registry: Registry, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("algodock_deployer.clients.container_heartbeats.LOOK_EVERY_S", 0.0)
    heartbeats = ContainerHeartbeats(tmp_path, bridge[1], registry.url)
    url = httpx.URL(await heartbeats.open())
    reader, writer = await asyncio.open_connection(url.host, url.port)
    writer.write(b"POST /heartbeat HTTP/1.1\r\nhost: x\r\nauthorization: Bearer adi_own\r\n")
    assert await heartbeats.open() == str(url)
    writer.write(b"\r\n")
    assert (await reader.read()).startswith(b"HTTP/1.1 204 ")
    writer.close()
    await heartbeats.close()


async def test_an_engine_that_is_away_for_a_moment_ends_nothing(
    registry: Registry, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("algodock_deployer.clients.container_heartbeats.LOOK_EVERY_S", 0.0)
    engine = Engine(f"unix://{tmp_path}/engine.sock")
    heartbeats = ContainerHeartbeats(tmp_path, engine, registry.url)
    assert await heartbeats.open() == ""
    assert "does not answer" in await heartbeats.state()
    async with served(Bridge().serve, tmp_path / "engine.sock"):
        url = await heartbeats.open()
    assert await heartbeats.open() == url != ""
    assert await heartbeats.state() == ""
    assert (await call("POST", url, headers=OWN)).status_code == 204
    await heartbeats.close()
    await engine.close()
