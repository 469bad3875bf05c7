"""Environments without an index: packages out of a folder, nothing over the network."""

from __future__ import annotations

import os
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

from algodock_common.testing import FakeObjectStore
from algodock_deployer.clients.environments import UvEnvironments
from algodock_deployer.clients.node import NodeEnvironments
from algodock_deployer.clients.sandbox import Sandbox
from algodock_deployer.clients.sdk import SdkPackage
from algodock_deployer.clients.tools import BuildLog, Tool
from algodock_deployer.domain.errors import StepFailed

UV = Path(sys.executable).parent / "uv"
UNREACHABLE = {
    "UV_DEFAULT_INDEX": "http://127.0.0.1:9/simple",
    "UV_HTTP_TIMEOUT": "2",
    "UV_HTTP_RETRIES": "0",
    "HOME": "/nonexistent",
}


def wheel(folder: Path, name: str, version: str) -> None:
    """Make a package of one module that knows its version."""
    folder.mkdir(parents=True, exist_ok=True)
    info = f"{name}-{version}.dist-info"
    with zipfile.ZipFile(folder / f"{name}-{version}-py3-none-any.whl", "w") as archive:
        archive.writestr(f"{name}.py", f"VERSION = {version!r}\n")
        archive.writestr(f"{info}/METADATA", f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}\n")
        archive.writestr(f"{info}/WHEEL", "Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: py3-none-any\n")
        archive.writestr(f"{info}/RECORD", "")


def version_in(python: Path) -> str:
    done = subprocess.run([python, "-c", "import tiny; print(tiny.VERSION)"], capture_output=True, check=True)
    return done.stdout.decode().strip()


def environments(folder: Path, *, wheels: Path | None, offline: bool = True, min_free: int = 0) -> UvEnvironments:
    return UvEnvironments(
        folder / "environments", uv=str(UV), store=FakeObjectStore(), sandbox=Sandbox(61_200, wanted=False),
        sdk=SdkPackage.installed(), source=UNREACHABLE, wheels=wheels, offline=offline, min_free_bytes=min_free,
    )  # fmt: skip


async def test_an_environment_is_built_out_of_a_folder_with_the_index_unreachable(tmp_path: Path) -> None:
    wheels, log = tmp_path / "wheels", BuildLog(tmp_path / "build.log")
    wheel(wheels, "tiny", "1.0")
    made = environments(tmp_path, wheels=wheels)
    first = await made.prepare(["tiny"], None, sdk=False, log=log)
    assert version_in(first.python) == "1.0"
    assert (await made.prepare(["tiny"], None, sdk=False, log=log)).reused

    wheel(wheels, "tiny", "2.0")
    newer = await made.prepare(["tiny"], None, sdk=False, log=log)
    assert (newer.key != first.key, newer.reused) == (True, False), "the folder says what there is"


async def test_what_the_folder_does_not_have_is_said_and_nothing_is_asked_for(tmp_path: Path) -> None:
    log = BuildLog(tmp_path / "build.log")
    wheel(tmp_path / "wheels", "tiny", "1.0")
    with pytest.raises(StepFailed, match=r"(?s)other.*not found in the provided package locations"):
        await environments(tmp_path, wheels=tmp_path / "wheels").prepare(["other"], None, sdk=False, log=log)
    with pytest.raises(StepFailed, match=r"DEPLOYER_WHEELS=.*none, and .*none is no folder"):
        await environments(tmp_path, wheels=tmp_path / "none").prepare(["tiny"], None, sdk=False, log=log)
    with pytest.raises(StepFailed, match=r"127\.0\.0\.1:9"):
        await environments(tmp_path, wheels=tmp_path / "wheels", offline=False).prepare(["b"], None, sdk=False, log=log)


async def test_nothing_is_built_on_a_disk_that_is_nearly_full_and_what_is_built_is_used(tmp_path: Path) -> None:
    wheels, log = tmp_path / "wheels", BuildLog(tmp_path / "build.log")
    wheel(wheels, "tiny", "1.0")
    full = environments(tmp_path, wheels=wheels, min_free=2**60)
    with pytest.raises(StepFailed, match=r"only \d+ MiB are free below .*environments; a build wants"):
        await full.prepare(["tiny"], None, sdk=False, log=log)
    await environments(tmp_path, wheels=wheels).prepare(["tiny"], None, sdk=False, log=log)
    assert (await full.prepare(["tiny"], None, sdk=False, log=log)).reused


async def test_a_folder_that_is_closed_to_builders_is_said(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    made, wheels = environments(tmp_path, wheels=tmp_path / "wheels"), tmp_path / "wheels"
    wheel(wheels, "tiny", "1.0")
    monkeypatch.setattr(made, "builder_uid", lambda *_: os.geteuid())
    with pytest.raises(StepFailed, match=r"DEPLOYER_WHEELS=.*and it is switched off"):
        await made.prepare(["tiny"], None, sdk=False, log=BuildLog(tmp_path / "build.log"))


@pytest.mark.parametrize("offline", [True, False])
async def test_npm_is_told_the_same(tmp_path: Path, offline: bool) -> None:  # noqa: FBT001
    seen: list[Tool] = []

    async def run(tool: Tool, log: BuildLog) -> str:
        log.say(tool.name)
        seen.append(tool)
        return "v24.0.0"

    (tmp_path / "code").mkdir()
    for name in ("package.json", "package-lock.json"):
        (tmp_path / "code" / name).write_text("{}")
    bin_folder = tmp_path / "bin"
    bin_folder.mkdir()
    for name in ("node", "npm"):
        (bin_folder / name).write_text("#!/bin/sh\n")
        (bin_folder / name).chmod(0o755)
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("PATH", str(bin_folder))
        node = NodeEnvironments(environments(tmp_path, wheels=None, offline=offline), run=run)
        await node.packages(tmp_path / "code", BuildLog(tmp_path / "build.log"))
    assert seen[-1].argv[1] == "ci"
    assert seen[-1].environment["NPM_CONFIG_CACHE"] == str(tmp_path / "environments" / "cache" / "npm")
    assert seen[-1].environment.get("NPM_CONFIG_OFFLINE") == ("true" if offline else None)
    assert seen[-1].environment.get("NPM_CONFIG_PREFER_OFFLINE") == (None if offline else "true")
