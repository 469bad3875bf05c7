"""The registry's outside: each fake keeps what the real one promises."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING
from uuid import UUID, uuid4

import httpx
import pytest

from algodock_common.errors import Unavailable
from algodock_common.settings import SecretSettings
from algodock_common.web import InternalClient
from algodock_registry.clients import (
    BindTest,
    DeployedService,
    DeployerView,
    FakeBindTest,
    FakeDeployer,
    FakeProbe,
    HealthProbe,
    HttpDeployer,
    HttpProbe,
    SocketBindTest,
)
from algodock_registry.clients.deployer import DeployedInstance
from tests.outside.grpc_peers import NOT_SERVING, SERVING, GrpcPeer

if TYPE_CHECKING:
    from algodock_common.events import ReleaseState

RELEASE, INSTANCE = uuid4(), uuid4()


@asynccontextmanager
async def instance(answer: bytes) -> AsyncIterator[str]:
    """Serve one answer to everybody, byte by byte as given; nothing for ever when it is empty."""

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        if not answer:
            await reader.read()
        writer.write(answer)
        writer.close()

    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    async with server:
        yield f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"


@pytest.fixture
async def probe() -> AsyncIterator[HttpProbe]:
    probe = HttpProbe(timeout_s=0.3, parallel=4)
    yield probe
    await probe.close()


@pytest.mark.parametrize("real", [True, False])
async def test_the_well_have_no_ailment(probe: HttpProbe, *, real: bool) -> None:
    asked: HealthProbe = probe if real else FakeProbe()
    async with instance(b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok") as url:
        assert await asked.ailment(url, "/health") is None


@pytest.mark.parametrize(
    ("answer", "ailment"),
    [
        (b"HTTP/1.1 503 No\r\ncontent-length: 0\r\n\r\n", "answered 503"),
        (b"HTTP/1.1 302 Found\r\nlocation: http://127.0.0.1:1/\r\ncontent-length: 0\r\n\r\n", "answered 302"),
        (b"this is no HTTP\r\n\r\n", ""),
        (b"", "did not answer in time"),
    ],
)
async def test_the_ill_have_one_that_says_what_is_wrong(probe: HttpProbe, answer: bytes, ailment: str) -> None:
    async with instance(answer) as url:
        said = await probe.ailment(url, "/health")
        fake = FakeProbe()
        fake.ill[url] = ailment
        assert await fake.ailment(url, "/health") == ailment
    assert said
    assert ailment in said


async def test_who_is_not_there_is_ill(probe: HttpProbe) -> None:
    assert await probe.ailment("http://127.0.0.1:1", "/health")
    assert await probe.ailment("grpc://127.0.0.1:1", "/")


@pytest.mark.parametrize("real", [True, False])
async def test_a_grpc_service_is_asked_by_its_own_protocol(*, real: bool) -> None:
    patient = HttpProbe(timeout_s=30, parallel=4)
    fake = FakeProbe()
    asked: HealthProbe = patient if real else fake
    with GrpcPeer.listening(health={"": SERVING, "demo.Echo": NOT_SERVING}) as peer:
        assert await asked.ailment(peer.url, "/") is None
        fake.ill[peer.url] = "NOT_SERVING"
        assert await asked.ailment(peer.url, "/demo.Echo") == "NOT_SERVING"
    await patient.close()


@pytest.mark.parametrize("real", [True, False])
def test_a_port_is_free_until_somebody_listens(*, real: bool) -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        port: int = server.getsockname()[1]
        bind_test: BindTest = SocketBindTest() if real else FakeBindTest({port})
        assert not bind_test.free("127.0.0.1", port, lingering=True)
    bind_test = SocketBindTest() if real else FakeBindTest()
    assert bind_test.free("127.0.0.1", port, lingering=True)


def _deployer(request: httpx.Request) -> httpx.Response:
    service = {
        "id": str(uuid4()),
        "name": "echo",
        "status": "running",
        "release_id": str(RELEASE),
        "instances": [{"instance_id": str(INSTANCE), "host": "127.0.0.1", "port": 8100}],
    }
    known = {"/internal/services/echo": service, f"/internal/releases/{RELEASE}": {"id": str(RELEASE), "state": "live"}}
    if request.url.path not in known:
        problem = {"type": "about:blank", "title": "Not found", "status": 404, "detail": "no"}
        return httpx.Response(404, json=problem, headers={"content-type": "application/problem+json"})
    return httpx.Response(200, json=known[request.url.path])


def _fake() -> FakeDeployer:
    fake = FakeDeployer()
    instances = [DeployedInstance(instance_id=INSTANCE)]
    fake.services["echo"] = DeployedService(status="running", release_id=RELEASE, instances=instances)
    fake.releases[RELEASE] = "live"
    return fake


@pytest.fixture
async def http_deployer() -> AsyncIterator[HttpDeployer]:
    secrets = SecretSettings(secret_key="s" * 40)
    async with InternalClient("http://deployer", secrets, transport=httpx.MockTransport(_deployer)) as http:
        yield HttpDeployer(http)


@pytest.mark.parametrize("real", [True, False])
async def test_the_deployer_says_what_serves_and_how_releases_stand(http_deployer: HttpDeployer, *, real: bool) -> None:
    deployer: DeployerView = http_deployer if real else _fake()
    service = await deployer.service("echo")
    assert service is not None
    assert (service.status, [one.instance_id for one in service.instances]) == ("running", [INSTANCE])
    states: list[ReleaseState | None] = [await deployer.release_state(one) for one in (RELEASE, UUID(int=0))]
    assert states == ["live", None]
    assert await deployer.service("never-heard-of") is None


async def test_a_deployer_that_is_away_is_an_error_and_not_an_empty_answer() -> None:
    def away(_request: httpx.Request) -> httpx.Response:
        raise httpx.ConnectError("refused")

    secrets = SecretSettings(secret_key="s" * 40)
    async with InternalClient("http://deployer", secrets, transport=httpx.MockTransport(away)) as http:
        with pytest.raises(Unavailable):
            await HttpDeployer(http).service("echo")
