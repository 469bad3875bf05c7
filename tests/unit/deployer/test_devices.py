"""GPUs: which are there, and who gets which."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from algodock_deployer.clients.devices import NvidiaSmi
from algodock_deployer.domain.containers import container_config
from algodock_deployer.domain.devices import WHOLE, Device, Held, pick, shares_of, why_not
from algodock_deployer.domain.errors import ManifestInvalid, NoDevice
from algodock_deployer.domain.manifest import parse_manifest
from algodock_deployer.domain.programs import ProgramSpec

if TYPE_CHECKING:
    from pathlib import Path

FOUR = [Device(index, f"GPU-{index}") for index in range(4)]


def held(device: int, share: int = WHOLE, algorithm: str = "other") -> Held:
    return Held(f"GPU-{device}", share, algorithm, "c" * 40)


def tool(folder: Path, script: str) -> NvidiaSmi:
    path = folder / "nvidia-smi"
    path.write_text(f"#!/bin/sh\n{script}\n")
    path.chmod(0o755)
    return NvidiaSmi(str(path))


async def test_devices_are_what_the_tool_lists(tmp_path: Path) -> None:
    said = "1, GPU-b, NVIDIA A10, 23028\nwarning: something\n0, GPU-a, NVIDIA A10, [N/A]\n"
    found = await tool(tmp_path, f"[ -z \"$SECRET_KEY\" ] && echo $@ >&2 && printf '{said}'").inventory()
    assert found == [Device(0, "GPU-a", "NVIDIA A10", 0), Device(1, "GPU-b", "NVIDIA A10", 23028)]


@pytest.mark.parametrize(
    ("script", "said"),
    [
        ("echo 'NVIDIA-SMI has failed: no driver'; exit 9", "ended with 9 and said: NVIDIA-SMI has failed: no driver"),
        ("kill -9 $$", "ended with -9 and said: nothing"),
    ],
)
async def test_a_tool_that_cannot_list_them_is_said(tmp_path: Path, script: str, said: str) -> None:
    with pytest.raises(NoDevice, match=said):
        await tool(tmp_path, script).inventory()
    with pytest.raises(NoDevice, match="No such file"):
        await NvidiaSmi(str(tmp_path / "none")).inventory()
    assert await NvidiaSmi(None).inventory() == []


def test_whole_devices_are_given_once_and_shares_lie_together() -> None:
    indexes = [one.index for one in pick(FOUR, [held(0), held(2, 250)], 2, WHOLE) or ()]
    assert indexes == [1, 3]
    assert pick(FOUR, [held(0), held(2, 250)], 3, WHOLE) is None
    assert [one.index for one in pick(FOUR, [held(0), held(2, 250)], 1, 750) or ()] == [2]
    assert [one.index for one in pick(FOUR, [held(0), held(2, 250)], 1, 751) or ()] == [1]
    assert pick(FOUR, [held(9)], 4, WHOLE) == FOUR, "a device that is gone takes no place"
    assert (shares_of(1), shares_of(0.25), shares_of(1e-9)) == (1000, 250, 1)


def test_why_there_is_none_names_the_holders_and_what_to_do() -> None:
    assert why_not([], [], 1, WHOLE, "me") == "it wants 1 GPU, and this machine has none"
    others = why_not(FOUR, [held(0), held(1)], 3, WHOLE, "me")
    assert others.startswith("it wants 3 GPUs, and 2 of 4 are free; the others are held by other. Stop or scale down")
    own = why_not(FOUR, [held(0, algorithm="me")], 4, WHOLE, "me")
    assert "`strategy: recreate` that gives its devices up first" in own
    assert "0.5 of 1 GPU" in why_not(FOUR[:1], [held(0)], 1, 500, "me")


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("resources: {gpu_share: 0.5}", "say how many"),
        ("resources: {gpu: 1, gpu_share: 0}", "gpu_share"),
        ("resources: {gpu: 1, gpu_share: 1.5}", "gpu_share"),
        ("resources: {gpu: -1}", "gpu"),
        ("resources: {gpu: 1}\nenv: {CUDA_VISIBLE_DEVICES: 7}", "set by the platform"),
    ],
)
def test_a_wish_that_cannot_be_is_refused(text: str, said: str) -> None:
    with pytest.raises(ManifestInvalid, match=said):
        parse_manifest(text.encode())
    assert parse_manifest(b"env: {CUDA_VISIBLE_DEVICES: 7}").env == {"CUDA_VISIBLE_DEVICES": "7"}


def test_a_container_gets_its_devices_and_no_other(tmp_path: Path) -> None:
    spec = ProgramSpec("p", (), tmp_path, tmp_path, tmp_path, tmp_path, tmp_path, devices=("GPU-a",))
    (request,) = container_config(spec, "home")["HostConfig"]["DeviceRequests"]
    assert request == {"Driver": "nvidia", "DeviceIDs": ["GPU-a"], "Capabilities": [["gpu"]]}
