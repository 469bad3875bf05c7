"""The edge follows the registry: new instances, drained ones, a renewed certificate, and what nginx refuses."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any
from uuid import UUID, uuid4

import grpc.aio
import pytest

from algodock_common.events import Limits
from algodock_deployer.clients.fakes import FakeRegistry
from algodock_deployer.clients.nginx import Nginx
from algodock_deployer.clients.registry import Lease, LeaseRequest
from algodock_deployer.handlers.edge import Edge, NoEdge
from tests.edge.conftest import KEY, Front
from tests.edge.test_http_edge import certificate
from tests.outside.grpc_peers import HANG, WHO, GrpcPeer

if TYPE_CHECKING:
    from pathlib import Path

    from algodock_deployer.domain.edge import Site

pytestmark = pytest.mark.timeout(300)


@dataclass
class HeldSeat:
    """What the edge said last."""

    said: tuple[int, dict[UUID, int]] | None = None

    async def say(self, epoch: int, draining: Mapping[UUID, int]) -> None:
        self.said = (epoch, dict(draining))

    async def leave(self) -> None:
        self.said = None


@dataclass
class Fleet:
    """A registry with instances that a test brings and takes."""

    registry: FakeRegistry = field(default_factory=FakeRegistry)

    def ready(self, peer: GrpcPeer, name: str = "echo-one", protocol: Any = "grpc") -> UUID:
        instance_id, registry = uuid4(), self.registry
        registry.epoch += 1
        registry.leases[instance_id] = LeaseRequest(
            uuid4(), name, uuid4(), "", "node", "127.0.0.1", 1, None, Limits(), "/", sends_heartbeats=False,
            protocol=protocol,
        )  # fmt: skip
        registry.places[instance_id] = Lease(
            instance_id, "127.0.0.1", peer.port, f"{protocol}://127.0.0.1:{peer.port}", ""
        )
        registry.states[instance_id] = ("ready", registry.epoch)
        return instance_id


@dataclass
class Following:
    """An edge at work, and short words for what tests look at."""

    edge: Edge
    seat: HeldSeat
    site: Site
    bell: asyncio.Event

    async def applied(self, fleet: Fleet, draining: Mapping[UUID, int] | None = None) -> None:
        """Wait until the edge says that it has applied what the registry has now."""
        self.bell.set()
        await until(lambda: self.seat.said == (fleet.registry.epoch, dict(draining or {})))

    async def call(self, path: str) -> bytes:
        async with grpc.aio.insecure_channel(self.site.grpc) as channel:
            answer: bytes = await channel.unary_unary(path)(
                b"", metadata=[("authorization", f"Bearer {KEY}")], timeout=60
            )
            return answer


async def until(look: Any, seconds: float = 60) -> None:
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        if look():
            return
        await asyncio.sleep(0.02)
    pytest.fail(f"not within {seconds} s")


@asynccontextmanager
async def following(front: Front, fleet: Fleet, names: tuple[str, ...] = (), **site: Any) -> AsyncIterator[Following]:
    async def known() -> tuple[str, ...]:
        return names

    changed = replace(front.site, **site)
    seat, bell = HeldSeat(), asyncio.Event()
    edge = Edge(fleet.registry, known, changed, front.nginx, seat, bell)
    await edge.start()
    try:
        yield Following(edge, seat, changed, bell)
    finally:
        await edge.stop()


async def code_of(failing: Any) -> str:
    with pytest.raises(grpc.aio.AioRpcError) as failed:
        await failing
    name: str = failed.value.code().name
    return name


@pytest.fixture
def fleet() -> Fleet:
    return Fleet()


async def test_calls_follow_the_instances_and_open_ones_hold_their_drain(front: Front, fleet: Fleet) -> None:
    with GrpcPeer.listening("one") as one, GrpcPeer.listening("two") as two:
        async with following(front, fleet, ("stopped",)) as edge:
            first = fleet.ready(one)
            await edge.applied(fleet)
            assert await edge.call(f"/echo-one{WHO}") == b"one"
            assert await code_of(edge.call(f"/stopped{WHO}")) == "UNAVAILABLE"
            assert await edge.edge.state() == ""

            hanging = asyncio.create_task(edge.call(f"/echo-one{HANG}"))
            assert await asyncio.to_thread(one.hanging.acquire, timeout=60)
            fleet.ready(two)
            fleet.registry.drain(first)
            await edge.applied(fleet, {first: 1})
            assert await edge.call(f"/echo-one{WHO}") == b"two"
            one.let_go.set()
            await hanging
            await edge.applied(fleet, {first: 0})
            await fleet.registry.release(first)
            await edge.applied(fleet)


async def test_a_deployer_that_comes_back_finds_the_edge_serving_and_leaves_it(front: Front, fleet: Fleet) -> None:
    with GrpcPeer.listening("one") as one:
        async with following(front, fleet) as edge:
            fleet.ready(one)
            await edge.applied(fleet)
        assert edge.seat.said is None, "nobody waits for an edge that nobody keeps"
        before = set(await front.nginx.workers())
        assert await edge.call(f"/echo-one{WHO}") == b"one", "it serves on alone"
        async with following(front, fleet) as edge:
            await edge.applied(fleet)
            assert before & set(await front.nginx.workers()), "nothing had changed, so nothing was reloaded"


async def test_what_does_not_speak_grpc_changes_nothing_and_is_acknowledged(front: Front, fleet: Fleet) -> None:
    with GrpcPeer.listening("one") as one:
        async with following(front, fleet) as edge:
            fleet.ready(one)
            await edge.applied(fleet)
            text = (edge.site.folder / "nginx.conf").read_text()
            fleet.registry.drain(fleet.ready(one, "http-one", "http"))
            await edge.applied(fleet)
            assert (edge.site.folder / "nginx.conf").read_text() == text


async def test_what_nginx_refuses_is_told_and_holds_the_drain_and_the_old_serves_on(front: Front, fleet: Fleet) -> None:
    with GrpcPeer.listening("one") as one, GrpcPeer.listening("two") as two:
        async with following(front, fleet) as edge:
            first = fleet.ready(one)
            await edge.applied(fleet)
        epoch = fleet.registry.epoch
        fleet.ready(two)
        fleet.registry.drain(first)
        async with following(front, fleet, certificate="/nowhere.pem", certificate_key="/nowhere.key") as edge:
            await until(lambda: edge.seat.said is not None)
            why = await edge.edge.state()
            assert "/nowhere.pem" in why
            assert why.endswith("it serves as before")
            said = edge.seat.said
            assert said is not None
            assert said[0] < epoch, "who drains waits for its bound"
        assert await edge.call(f"/echo-one{WHO}") == b"one"


@pytest.mark.parametrize(
    ("changed", "said"),
    [
        ({"gateways": ("127.0.0.1:1; } events {",)}, "holds what means something to nginx"),
        ({"server_names": ('"',)}, "holds what means something to nginx"),
    ],
)
async def test_a_setting_that_would_say_more_than_its_value_is_refused(
    front: Front, fleet: Fleet, changed: dict[str, Any], said: str
) -> None:
    async with following(front, fleet, **changed) as edge:
        await until(lambda: said in edge.edge.why)


async def test_without_an_nginx_the_edge_says_so_and_nobody_waits_for_it(
    front: Front, fleet: Fleet, tmp_path: Path
) -> None:
    site = replace(front.site, folder=tmp_path)
    seat = HeldSeat()
    edge = Edge(fleet.registry, fleet_names, site, Nginx(tmp_path, "/nowhere/nginx"), seat, asyncio.Event())
    await edge.round()
    assert await edge.state() == "/nowhere/nginx cannot be run: No such file or directory; it does not run"
    assert seat.said is None


async def test_where_no_edge_is_wanted_an_earlier_one_is_ended(front: Front, fleet: Fleet, tmp_path: Path) -> None:
    async with following(front, fleet) as edge:
        await edge.applied(fleet)
    await NoEdge(Nginx(tmp_path, "nginx")).start()
    assert await front.nginx.current() is not None, "another platform's is left alone"
    await NoEdge(front.nginx).start()
    assert await front.nginx.current() is None
    await NoEdge(front.nginx).start()


async def fleet_names() -> tuple[str, ...]:
    return ()


async def test_a_renewed_certificate_is_loaded(front: Front, fleet: Fleet, tmp_path: Path) -> None:
    pem, key = certificate(tmp_path, "first")
    async with following(front, fleet, certificate=pem, certificate_key=key) as edge:
        await edge.applied(fleet)
        before = set(await front.nginx.workers())
        renewed, its_key = certificate(tmp_path, "second")
        for new, old in ((its_key, key), (renewed, pem)):
            tmp_path.joinpath(new).rename(old)
        async with asyncio.timeout(60):
            while before & set(await front.nginx.workers()):
                edge.bell.set()
                await asyncio.sleep(0.05)
