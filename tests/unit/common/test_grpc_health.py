"""``grpc.health.v1`` asked of real gRPC servers, and of what is none."""

from __future__ import annotations

import asyncio
import subprocess
import sys
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager

import pytest

from algodock_common.grpc_health import GrpcHealth, ask_grpc_health
from tests.outside.grpc_peers import NOT_SERVING, SERVING, GrpcPeer

LONG_S = 30.0
"""For what is answered: a slow machine is no illness."""


async def test_a_server_is_asked_as_a_whole_or_for_one_service() -> None:
    with GrpcPeer.listening(health={"": SERVING, "demo.Echo": NOT_SERVING}) as peer:
        assert await ask_grpc_health(f"{peer.url}/", timeout_s=LONG_S) == GrpcHealth(
            well=True, said="SERVING", answered=True
        )
        one = await ask_grpc_health(f"{peer.url}/demo.Echo", timeout_s=LONG_S)
        assert (one.well, one.said, one.answered, one.missing) == (False, "NOT_SERVING", True, False)


async def test_what_answers_without_that_service_is_told_from_what_does_not_answer() -> None:
    with GrpcPeer.listening() as peer:
        none = await ask_grpc_health(f"{peer.url}/", timeout_s=LONG_S)
    assert (none.well, none.answered, none.missing) == (False, True, True)
    assert none.said.startswith("UNIMPLEMENTED")
    with GrpcPeer.listening(health={"": SERVING}) as peer:
        unknown = await ask_grpc_health(f"{peer.url}/other.Service", timeout_s=LONG_S)
    assert unknown.missing
    assert unknown.said == "NOT_FOUND: unknown service"


async def test_who_is_not_there_or_says_nothing_is_ill_within_the_time() -> None:
    gone = await ask_grpc_health("grpc://127.0.0.1:1/", timeout_s=LONG_S)
    assert (gone.well, gone.answered) == (False, False)
    assert gone.said.startswith("UNAVAILABLE")

    async def silent(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.read()
        writer.close()

    async with await asyncio.start_server(silent, "127.0.0.1", 0) as server:
        port = server.sockets[0].getsockname()[1]
        deaf = await ask_grpc_health(f"grpc://127.0.0.1:{port}/", timeout_s=0.3)
    assert (deaf.well, deaf.answered) == (False, False)
    assert deaf.said.startswith(("DEADLINE_EXCEEDED", "UNAVAILABLE", "TimeoutError"))


async def test_a_server_that_comes_is_seen_at_the_next_question(monkeypatch: pytest.MonkeyPatch) -> None:
    """An earlier failure makes no pause, and a proxy of the environment is not asked."""
    monkeypatch.setenv("http_proxy", "http://127.0.0.1:1")
    monkeypatch.setenv("grpc_proxy", "http://127.0.0.1:1")
    with GrpcPeer.listening() as peer:
        port = peer.port
    assert not (await ask_grpc_health(f"grpc://127.0.0.1:{port}/", timeout_s=LONG_S)).well
    with _again(port) as peer:
        assert (await ask_grpc_health(f"{peer.url}/", timeout_s=LONG_S)).well


@contextmanager
def _again(port: int) -> Iterator[GrpcPeer]:
    with GrpcPeer.listening(health={"": SERVING}, port=port) as peer:
        yield peer


@pytest.mark.parametrize("service", ["algodock_deployer.main", "algodock_registry.main", "algodock_gateway.main"])
def test_who_meets_no_grpc_service_carries_no_grpc(service: str) -> None:
    look = f"import sys, {service}; sys.exit('grpc' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", look], check=False, timeout=110).returncode == 0


def test_the_loop_of_the_services_is_served_too() -> None:
    """Services run on uvloop."""
    import uvloop

    async def ask() -> GrpcHealth:
        with GrpcPeer.listening(health={"": SERVING}) as peer:
            return await ask_grpc_health(f"{peer.url}/", timeout_s=LONG_S)

    with ThreadPoolExecutor(1) as pool:  # a thread without a loop
        assert pool.submit(lambda: uvloop.new_event_loop().run_until_complete(ask())).result(60).well
