"""The interceptors, held against a real gRPC server: what arrives there is what the edge reads."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator

import grpc
import grpc.aio
import pytest

from algodock_sdk.grpc import AlgorithmInterceptor, aio_channel, channel
from tests.outside.grpc_peers import EACH, ECHO, GrpcPeer

PATH = f"/echo-grpc{ECHO}"


class Edge(GrpcPeer):
    """Answers the prefixed paths, as the edge would, in every kind of call."""

    def service(self, call: grpc.HandlerCallDetails) -> grpc.RpcMethodHandler:
        self.seen.append((call.method, dict(call.invocation_metadata)))
        kinds = {
            PATH: grpc.unary_unary_rpc_method_handler(lambda word, _: word),
            f"/echo-grpc{EACH}": grpc.stream_stream_rpc_method_handler(lambda words, _: words),
            "/echo-grpc/demo.Echo/Spell": grpc.unary_stream_rpc_method_handler(
                lambda word, _: iter([word[i : i + 1] for i in range(len(word))])
            ),
            "/echo-grpc/demo.Echo/Join": grpc.stream_unary_rpc_method_handler(lambda words, _: b"".join(words)),
        }
        return kinds.get(call.method)


@pytest.fixture
def edge() -> Iterator[GrpcPeer]:
    with Edge.listening() as listening:
        yield listening


def arrived(edge: GrpcPeer) -> set[tuple[str, str | None]]:
    return {(method, metadata.get("authorization")) for method, metadata in edge.seen}


WANTED = {
    (PATH, "Bearer k"), (f"/echo-grpc{EACH}", "Bearer k"),
    ("/echo-grpc/demo.Echo/Spell", "Bearer k"), ("/echo-grpc/demo.Echo/Join", "Bearer k"),
}  # fmt: skip


def test_each_kind_of_call_gets_name_and_key(edge: GrpcPeer) -> None:
    with channel(f"127.0.0.1:{edge.port}", "echo-grpc", "k") as opened:
        assert opened.unary_unary(ECHO)(b"ab", timeout=60, metadata=[("x-kept", "yes")]) == b"ab"
        assert list(opened.stream_stream(EACH)(iter([b"a", b"b"]), timeout=60)) == [b"a", b"b"]
        assert list(opened.unary_stream("/demo.Echo/Spell")(b"ab", timeout=60)) == [b"a", b"b"]
        assert opened.stream_unary("/demo.Echo/Join")(iter([b"a", b"b"]), timeout=60) == b"ab"
    assert arrived(edge) == WANTED
    assert edge.seen[0][1]["x-kept"] == "yes"


async def test_each_kind_of_call_gets_name_and_key_in_asyncio_too(edge: GrpcPeer) -> None:
    async def words() -> AsyncIterator[bytes]:
        for word in (b"a", b"b"):
            yield word

    async with aio_channel(f"127.0.0.1:{edge.port}", "echo-grpc", "k") as opened:
        assert await opened.unary_unary(ECHO)(b"ab", timeout=60, metadata=[("x-kept", "yes")]) == b"ab"
        assert [word async for word in opened.stream_stream(EACH)(words(), timeout=60)] == [b"a", b"b"]
        assert [word async for word in opened.unary_stream("/demo.Echo/Spell")(b"ab", timeout=60)] == [b"a", b"b"]
        assert await opened.stream_unary("/demo.Echo/Join")(words(), timeout=60) == b"ab"
    assert arrived(edge) == WANTED
    assert edge.seen[0][1]["x-kept"] == "yes"


def test_a_call_may_bring_a_key_of_its_own(edge: GrpcPeer) -> None:
    with grpc.insecure_channel(f"127.0.0.1:{edge.port}") as plain:
        opened = grpc.intercept_channel(plain, AlgorithmInterceptor("echo-grpc", "k"))
        opened.unary_unary(ECHO)(b"", timeout=60, metadata=[("authorization", "Bearer other")])
        keyless = grpc.intercept_channel(plain, AlgorithmInterceptor("echo-grpc"))
        keyless.unary_unary(ECHO)(b"", timeout=60)
    assert [metadata.get("authorization") for _, metadata in edge.seen] == ["Bearer other", None]


@pytest.mark.parametrize("name", ["", "Echo", "a/b", "-a", "a" * 64])
def test_what_is_no_name_is_refused_before_anything_is_sent(name: str) -> None:
    with pytest.raises(ValueError, match="no name of an algorithm"):
        channel("127.0.0.1:1", name, "k")
    with pytest.raises(ValueError, match="no name of an algorithm"):
        aio_channel("127.0.0.1:1", name, "k")
