"""gRPC at one port: by prefix or metadata to its service's instances, each call authorised, each ending told right."""

from __future__ import annotations

import asyncio
import json
import threading
from typing import TYPE_CHECKING

import grpc
import pytest

from algodock_deployer.clients.nginx import KEPT_LOGS, LARGE_LOG, EdgeRefused
from algodock_deployer.domain.edge_grpc import GrpcServer, GrpcService
from tests.edge.conftest import KEY, Front, StandIn, service, standing_in
from tests.edge.h2 import h2_get
from tests.outside.grpc_peers import EACH, ECHO, FAIL, HANG, WHO, GrpcPeer
from tests.outside.platform import eventually

if TYPE_CHECKING:
    from collections.abc import Iterator

pytestmark = pytest.mark.timeout(300)


@pytest.fixture
def one() -> Iterator[GrpcPeer]:
    with GrpcPeer.listening("one") as peer:
        yield peer


@pytest.fixture
def two() -> Iterator[GrpcPeer]:
    with GrpcPeer.listening("two") as peer:
        yield peer


def test_a_call_by_prefix_reaches_its_service_authorised_and_without_the_key(
    front: Front, gateway: StandIn, one: GrpcPeer, two: GrpcPeer
) -> None:
    front.serve(service("echo-one", one), service("echo-two", two))
    assert front.call(f"/echo-one{ECHO}", "文本".encode(), metadata=[("x-kept", "yes")]) == "文本".encode()
    assert front.call(f"/echo-two{WHO}") == b"two"
    method, metadata = one.seen[0]
    assert method == ECHO, "the prefix is taken off"
    assert metadata["x-kept"] == "yes"
    assert not metadata.keys() & {"authorization", "x-algodock-service", "x-algodock-identity"}
    assert gateway.asked == [("echo-one", ECHO, f"Bearer {KEY}"), ("echo-two", WHO, f"Bearer {KEY}")]


def test_a_stub_that_cannot_add_a_prefix_names_the_service_in_its_metadata(
    front: Front, gateway: StandIn, one: GrpcPeer, two: GrpcPeer
) -> None:
    front.serve(service("echo-one", one), service("echo-two", two))
    assert front.call(WHO, metadata=[("x-algodock-service", "echo-two")]) == b"two"
    assert front.call(f"/echo-one{WHO}", metadata=[("x-algodock-service", "echo-two")]) == b"one", "the path wins"
    assert gateway.asked[0] == ("echo-two", WHO, f"Bearer {KEY}")


def test_streams_pass_in_both_directions_message_by_message(front: Front, one: GrpcPeer) -> None:
    front.serve(service("echo-one", one))
    heard = threading.Semaphore(0)

    def words() -> Iterator[bytes]:
        for word in (b"a", b"b", b"c"):
            yield word
            assert heard.acquire(timeout=60), "each is answered before the next is sent"

    with grpc.insecure_channel(front.site.grpc) as channel:
        call = channel.stream_stream(f"/echo-one{EACH}")
        answers = []
        for word in call(words(), metadata=[("authorization", f"Bearer {KEY}")], timeout=120):
            answers.append(word)
            heard.release()
    assert answers == [b"a", b"b", b"c"]


def test_calls_are_shared_by_the_instances_and_pass_over_one_that_is_gone(front: Front, two: GrpcPeer) -> None:
    with GrpcPeer.listening("one") as one:
        front.serve(service("echo-one", one, two))
        assert {front.call(f"/echo-one{WHO}") for _ in range(8)} == {b"one", b"two"}
    assert {front.call(f"/echo-one{WHO}") for _ in range(8)} == {b"two"}


def test_a_canary_gets_its_share_of_few_calls_too(front: Front, one: GrpcPeer, two: GrpcPeer) -> None:
    shares = (GrpcServer("127.0.0.1", one.port, 4), GrpcServer("127.0.0.1", two.port, 1))
    front.serve(GrpcService("echo-one", shares))
    answers = [front.call(f"/echo-one{WHO}") for _ in range(10)]
    assert (answers.count(b"one"), answers.count(b"two")) == (8, 2)


def test_what_is_not_there_is_told_from_what_is_down(front: Front, one: GrpcPeer) -> None:
    front.serve(service("echo-one", one), service("stopped"))
    assert front.refused(f"/other{ECHO}")[0] == "UNIMPLEMENTED"
    assert front.refused(ECHO)[0] == "UNIMPLEMENTED"
    assert front.refused(ECHO, metadata=[("x-algodock-service", "other")])[0] == "UNIMPLEMENTED"
    assert front.refused(f"/stopped{ECHO}") == ("UNAVAILABLE", "the service is down")
    assert front.refused(f"/echo-one{FAIL}") == ("INVALID_ARGUMENT", "no such word"), "a service's own words pass"
    assert front.refused("/echo-one/demo.Echo/Nothing")[0] == "UNIMPLEMENTED"
    for path in ("/other/demo.Echo/Say", f"/echo-one{ECHO}", "/", "/.grpc/echo-one/demo.Echo/Say"):
        status, body = h2_get(front.grpc_port, path)
        assert (status, json.loads(body)["status"]) == (404, 404), path
    assert h2_get(front.grpc_port, "/.authorise")[0] == 404


def test_health_answers_http_at_the_same_port(front: Front, one: GrpcPeer) -> None:
    front.serve(service("echo-one", one))
    assert h2_get(front.grpc_port, "/health")[0] == 200
    status, body = h2_get(front.grpc_port, "/echo-one/health")
    assert (status, json.loads(body)) == (200, {"service": "echo-one"})
    assert h2_get(front.grpc_port, "/other/health")[0] == 404


@pytest.mark.parametrize("key", [None, "wrong"])
def test_a_call_without_a_valid_key_reaches_nobody(
    front: Front, gateway: StandIn, one: GrpcPeer, key: str | None
) -> None:
    front.serve(service("echo-one", one))
    code, said = front.refused(f"/echo-one{ECHO}", key=key)
    assert (code, "authorization" in said) == ("UNAUTHENTICATED", True)
    assert not one.seen
    assert len(gateway.asked) == 1, "it is asked about, and so recorded"


def test_nothing_passes_that_nobody_can_authorise(front: Front, one: GrpcPeer) -> None:
    with standing_in() as away:
        port = away.port
    front.serve(service("echo-one", one), gateways=(f"127.0.0.1:{port}",))
    assert front.refused(f"/echo-one{ECHO}") == ("UNAVAILABLE", "calls cannot be authorised now")
    assert not one.seen


def test_networks_are_allowed_and_denied(front: Front, one: GrpcPeer) -> None:
    front.serve(service("echo-one", one), deny=("127.0.0.0/8",))
    assert front.refused(f"/echo-one{ECHO}")[0] == "PERMISSION_DENIED"
    front.serve(service("echo-one", one), allow=("10.0.0.0/8",))
    assert front.refused(f"/echo-one{ECHO}")[0] == "PERMISSION_DENIED"
    assert not one.seen
    front.serve(service("echo-one", one), allow=("127.0.0.1",))
    assert front.call(f"/echo-one{ECHO}") == b"hello"


def test_a_service_takes_no_more_calls_at_once_than_it_says(front: Front, one: GrpcPeer) -> None:
    front.serve(service("echo-one", one, concurrency=1), service("echo-two", one))
    with grpc.insecure_channel(front.site.grpc) as channel:
        hanging = channel.unary_unary(f"/echo-one{HANG}").future(
            b"x", metadata=[("authorization", f"Bearer {KEY}")], timeout=120
        )
        assert one.hanging.acquire(timeout=60)
        assert front.refused(f"/echo-one{ECHO}") == ("RESOURCE_EXHAUSTED", "all places of the service are taken")
        assert front.call(f"/echo-two{ECHO}") == b"hello", "others are not held up"
        one.let_go.set()
        assert hanging.result() == b"x"
    eventually(lambda: front.call(f"/echo-one{ECHO}") == b"hello")


def test_a_call_goes_on_while_the_configuration_changes(front: Front, one: GrpcPeer, two: GrpcPeer) -> None:
    front.serve(service("echo-one", one))
    with grpc.insecure_channel(front.site.grpc) as channel:
        hanging = channel.unary_unary(f"/echo-one{HANG}").future(
            b"x", metadata=[("authorization", f"Bearer {KEY}")], timeout=120
        )
        assert one.hanging.acquire(timeout=60)
        before = set(asyncio.run(front.nginx.workers()))
        front.serve(service("echo-one", two))
        assert {front.call(f"/echo-one{WHO}") for _ in range(4)} == {b"two"}, "new calls go to the new instance"
        assert before & set(asyncio.run(front.nginx.workers())), "a worker with an open call stays"
        one.let_go.set()
        assert hanging.result() == b"x"
    eventually(lambda: not before & set(asyncio.run(front.nginx.workers())))


def test_every_call_is_in_the_edges_own_log_with_its_end(front: Front, one: GrpcPeer) -> None:
    front.serve(service("logged", one))
    front.call(f"/logged{ECHO}")
    front.refused(f"/logged{FAIL}")
    log = front.site.folder / "grpc.log"
    lines = eventually(
        lambda: [line for line in log.read_text().splitlines() if '"logged"' in line],
        accept=lambda found: len(found) == 2,
    )
    said, failed = (json.loads(line) for line in lines)
    assert (said["service"], said["method"], said["grpc_status"]) == ("logged", ECHO, "0")
    assert (failed["method"], failed["grpc_status"]) == (FAIL, "3")
    assert said["instance"] == f"127.0.0.1:{one.port}"


def test_a_large_log_is_put_aside_and_five_are_kept(front: Front, one: GrpcPeer) -> None:
    front.serve(service("echo-one", one))
    log = front.site.folder / "grpc.log"
    for _ in range(KEPT_LOGS + 1):
        eventually(log.exists)
        with log.open("ab") as file:
            file.truncate(LARGE_LOG + 1)
        asyncio.run(front.nginx.rotate())
    eventually(lambda: log.exists() and log.stat().st_size == 0)
    front.call(f"/echo-one{ECHO}")
    eventually(lambda: ECHO in log.read_text(), 60)
    assert len(list(front.site.folder.glob("grpc.log.*"))) == KEPT_LOGS


@pytest.mark.parametrize(("old", "new"), [("http {", "http { nonsense;"), ("listen 127", "listen 999.127")])
def test_a_bad_configuration_never_replaces_a_good_one(front: Front, one: GrpcPeer, old: str, new: str) -> None:
    front.serve(service("echo-one", one))
    live = front.site.folder / "nginx.conf"
    good, written_at = live.read_text(), live.stat().st_mtime_ns
    with pytest.raises(EdgeRefused, match=r"nonsense|999"):
        asyncio.run(front.nginx.apply(good.replace(old, new)))
    assert (live.read_text(), live.stat().st_mtime_ns) == (good, written_at), "nor was it in its place for a moment"
    assert front.call(f"/echo-one{ECHO}") == b"hello"


def test_a_port_that_somebody_has_is_said_and_the_edge_serves_as_before(
    front: Front, gateway: StandIn, one: GrpcPeer
) -> None:
    front.serve(service("echo-one", one))
    good = (front.site.folder / "nginx.conf").read_text()
    with pytest.raises(EdgeRefused, match=f"{gateway.port}.*Address already in use"):
        front.serve(service("echo-one", one), http=f"127.0.0.1:{gateway.port}")
    assert (front.site.folder / "nginx.conf").read_text() == good
    assert front.call(f"/echo-one{ECHO}") == b"hello"
