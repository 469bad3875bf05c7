"""GPUs on a deployer: leased with the instance, told to its program, free when it has gone. The tool is a script."""

from __future__ import annotations

import asyncio
import json
from typing import TYPE_CHECKING, Any
from uuid import uuid4

import pytest
import sqlalchemy as sa

from algodock_common.identifiers import uuid7
from algodock_deployer.clients.devices import NvidiaSmi
from algodock_deployer.clients.fakes import FakeRegistry
from algodock_deployer.domain.devices import Device
from algodock_deployer.domain.errors import NoDevice
from algodock_deployer.domain.manifest import Resources
from algodock_deployer.domain.releases import Instance
from algodock_deployer.handlers.devices import lease_devices
from algodock_deployer.repository import Instances
from algodock_deployer.repository.tables import gpu_leases

from .conftest import Deployer

if TYPE_CHECKING:
    from pathlib import Path

    from .conftest import Maker


def machine(folder: Path, count: int) -> NvidiaSmi:
    rows = "".join(f"{index}, GPU-{index}, NVIDIA A10, 23028\\n" for index in range(count))
    path = folder / "nvidia-smi"
    path.write_text(f"#!/bin/sh\nprintf '{rows}'\n")
    path.chmod(0o755)
    return NvidiaSmi(str(path))


def wanting(strategy: str = "blue-green", **resources: Any) -> dict[str, str]:
    """Return a program whose version is what it sees of the devices."""
    seen = "' + os.environ['CUDA_DEVICE_ORDER'] + ' ' + os.environ['CUDA_VISIBLE_DEVICES'] + '"
    program = Deployer.program("VERSION")["main.py"].replace('"VERSION"', f"'{seen}'")
    manifest = {"resources": resources, "strategy": strategy, "timeout": 1}  # no router lets go here
    return {"main.py": program, "algodock.yaml": json.dumps(manifest)}


async def leases(deployer: Deployer) -> list[str]:
    async with deployer.context.database.read() as session:
        return list((await session.execute(sa.select(gpu_leases.c.device).order_by(gpu_leases.c.device))).scalars())


async def test_no_device_is_given_twice_and_one_is_free_when_its_instance_has_gone(make: Maker, tmp_path: Path) -> None:
    async with make(devices=machine(tmp_path, 2)) as deployer:
        release = await deployer.live("one", wanting(gpu=1))
        assert next(step["detail"] for step in release.steps if step["name"] == "lease").endswith("(GPU 0)")
        await deployer.live("two", wanting(gpu=1))
        versions = {name: (await deployer.answer(name))["version"] for name in ("one", "two")}
        assert versions == {"one": "PCI_BUS_ID 0", "two": "PCI_BUS_ID 1"}

        commit = await deployer.push("three", wanting(gpu=1))
        failed = await deployer.release("three", commit, "failed")
        assert failed.reason.startswith(
            "lease: it wants 1 GPU, and 0 of 2 are free; the others are held by one, two. Stop or scale down"
        )
        assert {lease.algorithm for lease in deployer.registry.leases.values()} == {"one", "two"}, "its port is free"

        await deployer.command("one", "stop")
        await deployer.status("one", "stopped")
        assert await leases(deployer) == ["GPU-1"]
        await deployer.live("three", wanting(gpu=1))
        assert (await deployer.answer("three"))["version"] == "PCI_BUS_ID 0"


async def test_a_second_set_that_is_not_there_says_what_to_do_and_recreate_gives_up_first(
    make: Maker, tmp_path: Path
) -> None:
    async with make(devices=machine(tmp_path, 1)) as deployer:
        live = await deployer.live("only", wanting(gpu=1))
        commit = await deployer.push("only", wanting(gpu=1))
        failed = await deployer.release("only", commit, "failed")
        assert "with `strategy: recreate` that gives its devices up first" in failed.reason
        assert (await deployer.answer("only"))["release"] == str(live.id)
        assert await leases(deployer) == ["GPU-0"]

        commit = await deployer.push("only", wanting("recreate", gpu=1))
        release = await deployer.release("only", commit, "starting", "checking", "live")
        if release.state != "live":
            await deployer.release("only", commit, "live")
        assert (await deployer.answer("only"))["version"] == "PCI_BUS_ID 0"
        assert await leases(deployer) == ["GPU-0"]


async def test_shares_let_two_releases_have_one_device(make: Maker, tmp_path: Path) -> None:
    async with make(devices=machine(tmp_path, 1)) as deployer:
        await deployer.live("shared", wanting(gpu=1, gpu_share=0.5))
        await deployer.live("shared", wanting(gpu=1, gpu_share=0.5))
        assert await leases(deployer) == ["GPU-0", "GPU-0"]


async def test_without_a_device_the_release_fails_in_its_lease_step(deployer: Deployer) -> None:
    commit = await deployer.push("bare", wanting(gpu=2))
    failed = await deployer.release("bare", commit, "failed")
    assert failed.reason == "lease: it wants 2 GPUs, and this machine has none"
    assert not deployer.registry.leases


async def test_many_at_once_never_get_the_same_device(make: Maker) -> None:
    async with make(FakeRegistry()) as deployer:
        context = deployer.context
        release = await deployer.live("seed", deployer.program("one"))
        devices = [Device(index, f"GPU-{index}") for index in range(4)]

        async def lease() -> str:
            one = Instance(
                uuid4(),
                release.service_id,
                release.id,
                "seed",
                9,
                "elsewhere",
                "127.0.0.1",
                1,
                "",
                uuid7().hex,
                "starting",
            )
            try:
                async with context.database.transaction() as tx:
                    await Instances(tx.session).add(one)
                    (found,) = await lease_devices(tx.session, one, Resources(gpu=1), devices)
            except NoDevice:
                return ""
            return found.uuid

        found = await asyncio.gather(*(lease() for _ in range(12)))
        assert sorted(found) == ["", "", "", "", "", "", "", "", "GPU-0", "GPU-1", "GPU-2", "GPU-3"]
        with pytest.raises(sa.exc.IntegrityError):
            async with context.database.transaction() as tx:
                await tx.session.execute(
                    sa.insert(gpu_leases).values(instance_id=uuid4(), device="GPU-0", node_id="elsewhere", share=1000)
                )
