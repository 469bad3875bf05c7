"""gRPC services: started like the others, proven healthy by ``grpc.health.v1``."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import grpc.aio
import pytest

from algodock_deployer.handlers.edge import grpc_names
from tests.integration.deployer.conftest import QUICK

if TYPE_CHECKING:
    from .conftest import Deployer, Maker

EXAMPLE = Path(__file__).parents[3] / "examples" / "echo-grpc"
WORDS = b"\x0a\x05hello"
"""``Words(text="hello")``."""


def example() -> dict[str, str]:
    files = (path for path in EXAMPLE.rglob("*") if path.is_file() and "build" not in path.parts)
    return {path.relative_to(EXAMPLE).as_posix(): path.read_text(encoding="utf-8") for path in files}


@pytest.mark.timeout(300)
async def test_the_example_is_built_from_its_proto_found_healthy_and_answers(make: Maker) -> None:
    async with make(tuning=replace(QUICK, start_timeout_s=120)) as deployer:
        release = await _live(deployer, example())
        step = next(one for one in release if one["name"] == "samples")
        assert step["detail"] == "1 shown, none is run: samples are calls over HTTP"
        (lease,) = deployer.registry.leases.values()
        assert (lease.protocol, lease.health_path) == ("grpc", "/algodock.examples.Echo")
        assert await grpc_names(deployer.context) == ["echo-grpc"]
        view = await deployer.service("echo-grpc")
        async with grpc.aio.insecure_channel(f"127.0.0.1:{view.instances[0].port}") as channel:
            say = channel.unary_unary("/algodock.examples.Echo/Say")
            assert await say(WORDS, timeout=60) == WORDS
            each = channel.stream_stream("/algodock.examples.Echo/SayEach")(iter([WORDS, WORDS]), timeout=60)
            assert [word async for word in each] == [WORDS, WORDS]

    async with make(tuning=replace(QUICK, start_timeout_s=8)) as deployer:
        ill = example()
        ill["server.py"] = ill["server.py"].replace("HealthCheckResponse.SERVING", "HealthCheckResponse.NOT_SERVING")
        commit = await deployer.push("echo-ill", ill)
        failed = await deployer.release("echo-ill", commit, "failed", "live", seconds=240)
        assert failed.reason.startswith(
            "probe: not healthy within 8 s: grpc.health.v1 Check of algodock.examples.Echo: "
        ), failed.reason


async def _live(deployer: Deployer, files: dict[str, str]) -> list[dict[str, str]]:
    commit = await deployer.push("echo-grpc", files)
    release = await deployer.release("echo-grpc", commit, "live", "failed", seconds=240)
    assert release.state == "live", release.reason
    return release.steps
