"""What goes into a container, whether it can be had, and what an engine that is away is told as."""

from __future__ import annotations

import json
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast
from uuid import UUID, uuid4

import pytest

from algodock_common.errors import AlgoDockError
from algodock_deployer.clients.docker import DockerDriver
from algodock_deployer.clients.docker_engine import DockerImages, Engine
from algodock_deployer.clients.processes import DriverUnavailable
from algodock_deployer.domain.containers import container_config, image_tag
from algodock_deployer.domain.folders import Folders
from algodock_deployer.domain.manifest import Manifest
from algodock_deployer.domain.modes import Modes
from algodock_deployer.domain.plan import Interpreters, Plan
from algodock_deployer.domain.programs import Limits, ProgramSpec
from algodock_deployer.handlers import Context, Tuning
from algodock_deployer.handlers.containers import check_container, contained, in_container

CONTAINER = Plan(kind="container", runtime="docker")
PYTHON = Plan(kind="asgi", runtime="python", target="main:app")
MODES = Modes("supervisor", {"BOXED": "docker"})


def spec(folder: Path, **more: Any) -> ProgramSpec:
    return ProgramSpec(
        program="ai-x-1-abcdef", argv=(), folder=folder, script=folder / "start.sh", pid_file=folder / "pid",
        stdout=folder / "out.log", stderr=folder / "err.log", image="algodock/x:1", **more,
    )  # fmt: skip


def test_a_container_is_published_on_the_loopback_address_only_and_held_to_its_limits(tmp_path: Path) -> None:
    limits = Limits(memory=256 * 2**20, cpu=0.5, processes=64, file_size=2**30)
    config = container_config(spec(tmp_path, port=8101, limits=limits, uid=61203), "/data/algorithms/docker")
    host = config["HostConfig"]
    assert host["PortBindings"] == {"8101/tcp": [{"HostIp": "127.0.0.1", "HostPort": "8101"}]}
    assert (host["Memory"], host["MemorySwap"], host["NanoCpus"]) == (256 * 2**20, 256 * 2**20, 500_000_000)
    assert host["PidsLimit"] == 64
    assert {"Name": "fsize", "Soft": 2**30, "Hard": 2**30} in host["Ulimits"]
    assert host["ReadonlyRootfs"]
    assert (host["SecurityOpt"], host["CapDrop"]) == (["no-new-privileges"], ["ALL"])
    assert config["User"] == "61203:61203"
    assert "Cmd" not in config, "the image says what runs"
    assert config["Labels"] == {"algodock.home": "/data/algorithms/docker", "algodock.program": "ai-x-1-abcdef"}


def test_folders_of_the_machine_are_mounted_where_they_are_and_read_only(tmp_path: Path) -> None:
    config = container_config(spec(tmp_path, mounts=(tmp_path,)), "/data")
    place = str(tmp_path)
    assert config["HostConfig"]["Mounts"] == [{"Type": "bind", "Source": place, "Target": place, "ReadOnly": True}]
    assert config["WorkingDir"] == place


def test_an_image_belongs_to_its_release() -> None:
    assert image_tag("edges", UUID("0190c3f0-0000-7000-8000-0123456789ab")) == "algodock/edges:0123456789ab"


def context(*, engine: bool = True, image: str = "") -> Context:
    images = DockerImages(Engine("unix:///none.sock")) if engine else None
    return cast("Context", SimpleNamespace(modes=MODES, images=images, tuning=Tuning(docker_image=image)))


def test_a_dockerfile_or_the_services_mode_make_it_a_container() -> None:
    assert in_container(context(), CONTAINER, "any")
    assert in_container(context(), PYTHON, "boxed")
    assert not in_container(context(), PYTHON, "any")
    check_container(context(engine=False), PYTHON, "any")
    check_container(context(), CONTAINER, "any")
    check_container(context(image="base"), PYTHON, "boxed")


@pytest.mark.parametrize(
    ("plan", "engine", "said"),
    [
        (CONTAINER, False, "DOCKER_HOST is not set"),
        (PYTHON, True, "needs an image to run it in: DEPLOYER_DOCKER_IMAGE"),
        (CONTAINER.model_copy(update={"manifest": Manifest(build="make")}), True, "build: what a Dockerfile"),
    ],
)
def test_what_cannot_run_in_a_container_is_said_so(plan: Plan, engine: bool, said: str) -> None:  # noqa: FBT001  # pytest's
    with pytest.raises(AlgoDockError, match=said):
        check_container(context(engine=engine), plan, "boxed")


async def test_an_engine_that_is_away_is_an_error_that_passes(tmp_path: Path) -> None:
    driver = DockerDriver(tmp_path / "docker", Engine(f"unix://{tmp_path}/none.sock"))
    for call in (driver.ensure(), driver.look_all(), driver.look("x"), driver.start(spec(tmp_path)), driver.stop("x")):
        with pytest.raises(DriverUnavailable, match=r"the Docker Engine does not answer at unix://.*none\.sock"):
            await call
    await driver.close()


def test_a_container_has_its_own_models_and_devices_and_nothing_that_means_the_machine(tmp_path: Path) -> None:
    folders, release = Folders(tmp_path, tmp_path / "services"), uuid4()
    blobs = [tmp_path / "models" / "blobs" / name for name in ("own", "another's")]
    for path in (folders.code("boxed", release), folders.config, blobs[0].parent):
        path.mkdir(parents=True)
    for blob in blobs:
        blob.touch()
    note = {"path": "m.bin", "place": str(blobs[0]), "blobs": [str(blobs[0])]}
    folders.model_notes("boxed", release).write_text(json.dumps([note]))
    variables = {
        "CUDA_VISIBLE_DEVICES": "3",
        "CUDA_DEVICE_ORDER": "PCI_BUS_ID",
        "ALGODOCK_HEARTBEAT_URL": "x",
        "KEY": "k",
    }
    made = spec(folders.code("boxed", release), environment=variables, devices=("GPU-d",))
    instance = SimpleNamespace(algorithm="boxed", release_id=release, port=8101)
    prepared = SimpleNamespace(plan=PYTHON, programs=Interpreters(python="/p"), paths=())
    running = SimpleNamespace(folders=folders, tuning=Tuning(docker_image="base"))
    found = contained(cast("Context", running), cast("Any", prepared), cast("Any", instance), made)
    assert blobs[0] in found.mounts
    assert blobs[0].parent not in found.mounts
    assert blobs[1] not in found.mounts
    assert found.environment["KEY"] == "k"
    assert not {"CUDA_VISIBLE_DEVICES", "CUDA_DEVICE_ORDER", "ALGODOCK_HEARTBEAT_URL"} & found.environment.keys()
    (request,) = container_config(found, "home")["HostConfig"]["DeviceRequests"]
    assert request["DeviceIDs"] == ["GPU-d"]
