"""A port race with a program outside: between the registry's bind test and the program's own bind."""

from __future__ import annotations

import asyncio
import os
import socket
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import replace
from typing import TYPE_CHECKING

import pytest

from algodock_deployer import handlers
from algodock_deployer.clients.probes import HttpProber

from .conftest import QUICK, eventually

if TYPE_CHECKING:
    from .conftest import Deployer, Maker

PATIENT = """
import os, socket, time
while True:  # it never gives up: only who asks sees that another one answers
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((os.environ["HOST"], int(os.environ["PORT"])))
            break
        except OSError:
            time.sleep(0.1)
"""


@asynccontextmanager
async def stranger() -> AsyncIterator[int]:
    """A program of somebody else that answers everything with success; its port."""

    def handle(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\nconnection: close\r\n\r\nok")
        writer.close()

    async with await asyncio.start_server(handle, "127.0.0.1", 0) as server:
        yield server.sockets[0].getsockname()[1]


async def lost(deployer: Deployer, name: str) -> list[str]:
    _, entries, _ = await handlers.timeline_of(deployer.context, name, limit=50, before=None)
    return [one.detail for one in entries if one.kind == "port lost"]


@pytest.mark.parametrize("kind", ["exits", "waits"])
async def test_a_program_whose_port_was_taken_runs_on_another(make: Maker, kind: str) -> None:
    name = f"raced-{kind}"
    async with make(tuning=replace(QUICK, start_timeout_s=600)) as deployer, stranger() as port:
        deployer.registry.next_ports = [port]
        release = await deployer.live(name, deployer.program("one", before=PATIENT if kind == "waits" else ""))
        now = (await deployer.service(name)).instances[0].port
        assert (await deployer.answer(name))["version"] == "one"
        assert now != port
        assert deployer.registry.blocked == [port], "nobody else gets it either"
        assert len(deployer.registry.leases) == 1
        assert set(await deployer.processes.look_all()) == {f"ai-{name}-1-{str(release.id)[-12:]}"}
        (told,) = await lost(deployer, name)
        assert told.startswith(f"instance 1: port {port} was taken by "), told
        assert told.endswith(f"(process {os.getpid()}) before the program had it; it has {now} now")
    probe = next(step for step in release.steps if step["name"] == "probe")
    assert str(port) in probe["detail"]


async def test_the_tries_are_bounded_and_what_failed_says_who_has_the_port(deployer: Deployer) -> None:
    async with AsyncExitStack() as stack:
        taken = [await stack.enter_async_context(stranger()) for _ in range(5)]
        deployer.registry.next_ports = list(taken)
        commit = await deployer.push("raced-always", deployer.program("one"))
        failed = await deployer.release("raced-always", commit, "failed", "live")
    assert failed.state == "failed"
    assert f"port {taken[3]} was taken by" in failed.reason
    assert deployer.registry.blocked == taken[:3]
    assert not deployer.registry.leases
    assert len(await lost(deployer, "raced-always")) == 3


async def test_who_has_a_port_is_found_whether_it_listens_or_only_holds_it() -> None:
    prober = HttpProber()
    async with stranger() as port:
        assert f"(process {os.getpid()})" in await prober.holder("127.0.0.1", port)
        assert f"(process {os.getpid()})" in await prober.holder("0.0.0.0", port)  # noqa: S104  # it would collide
    assert await prober.holder("127.0.0.1", port) == ""
    with socket.socket() as holds:
        holds.bind(("127.0.0.1", 0))
        assert await prober.holder("127.0.0.1", holds.getsockname()[1]) == "another program"
    await prober.close()


async def test_what_carries_the_instances_token_is_no_stranger(deployer: Deployer) -> None:
    await deployer.live("raced-own", deployer.program("one"))
    one = (await deployer.service("raced-own")).instances[0]
    token = deployer.context.folders.token(one.algorithm, one.release_id, one.program).read_text()

    async def held() -> str:
        return await deployer.context.prober.holder(one.host, one.port)

    assert await eventually(held, 60, "the program to listen")
    assert await deployer.context.prober.holder(one.host, one.port, token=token) == ""
