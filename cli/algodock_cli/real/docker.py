"""A Docker Engine for tests, with an image to run things in, made from Debian: no registry is asked."""

from __future__ import annotations

import os
import platform
import shutil
import subprocess
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

import httpx

from algodock_cli.real.installs import machine_program
from algodock_cli.stack.data_folder import DataFolder, project_folder
from algodock_cli.stack.errors import ServerMissing, ServerNotReady
from algodock_cli.stack.programs import Program
from algodock_cli.stack.supervisor import Supervisor

__all__ = ["docker_engine"]

_READY_S = 60.0
_POLL_S = 0.1
_BASE_S = 900
_IMAGE = "algodock-base"

Progress = Callable[[str], None]


@contextmanager
def docker_engine(environment: Mapping[str, str], *, progress: Progress) -> Iterator[dict[str, str]]:
    """Give ``DOCKER_HOST`` and ``DEPLOYER_DOCKER_IMAGE``: the environment's own, or of an engine started for the while.

    It begins without containers; its base image is kept in the checkout.

    Raises:
        ServerMissing: it cannot be had here, or the environment names an engine and no image.
        ServerNotReady: it did not come up.
    """
    if environment.get("DOCKER_HOST"):
        if not environment.get("DEPLOYER_DOCKER_IMAGE"):
            raise ServerMissing("DOCKER_HOST is set, so DEPLOYER_DOCKER_IMAGE must be, too: an image with python3")
        yield {}
        return
    if os.geteuid() != 0:
        raise ServerMissing("a Docker Engine is started by root only; name a running one by DOCKER_HOST")
    folder = DataFolder.at(project_folder() / ".algodock" / "docker")
    socket = folder.socket("docker.sock")
    supervisor = Supervisor(folder)
    with folder.held():
        supervisor.end_leftovers()
        progress("starts a Docker Engine")
        supervisor.start({"docker": [_program(folder, socket, progress)]})
        try:
            with httpx.Client(base_url="http://docker", transport=httpx.HTTPTransport(uds=str(socket))) as engine:
                _wait_ready(engine, folder)
                for container in engine.get("/containers/json", params={"all": "true"}).json():
                    engine.delete(f"/containers/{container['Id']}", params={"force": "true"}).raise_for_status()
                image = _base_image(engine, folder, socket, progress)
            yield {"DOCKER_HOST": f"unix://{socket}", "DEPLOYER_DOCKER_IMAGE": image}
        finally:
            supervisor.stop()
            _let_go(folder)


def _let_go(folder: DataFolder) -> None:
    """Unmount the engine's folder: one that was killed meanwhile forgets that it mounted that on itself."""
    data = folder.servers / "docker"
    mounted = (line.split()[1] for line in Path("/proc/self/mounts").read_text(encoding="utf-8").splitlines())
    if str(data) in mounted:  # is_mount() sees no folder that is mounted on itself
        _run(["umount", str(data)], "umount")


def _program(folder: DataFolder, socket: Path, progress: Progress) -> Program:
    """Return the engine's program; its own sockets' names are as limited as ours."""
    engine = machine_program("dockerd", "docker.io", progress)
    iptables = machine_program("iptables", "iptables", progress)
    state = folder.socket("exec/containerd/containerd-debug.sock.ttrpc").parents[1]
    data = folder.servers / "docker"
    data.mkdir(parents=True, exist_ok=True)
    places = ("--data-root", str(data), "--exec-root", str(state), "--pidfile", str(folder.run / "dockerd.pid"))
    return Program(
        name="docker",
        command=(str(engine), *places, "--host", f"unix://{socket}"),
        environment={"PATH": os.pathsep.join([os.environ.get("PATH", os.defpath), str(iptables.parent)]), "TZ": "UTC"},
        directory=data,
        stop_seconds=30,
        stop_group=False,
    )


def _wait_ready(engine: httpx.Client, folder: DataFolder) -> None:
    end = time.monotonic() + _READY_S
    while True:
        try:
            if engine.get("/_ping").is_success:
                return
        except httpx.TransportError as error:
            if time.monotonic() > end:
                raise ServerNotReady(f"the Docker Engine: no answer in {_READY_S:.0f} s; see {folder.logs}") from error
        time.sleep(_POLL_S)


def _base_image(engine: httpx.Client, folder: DataFolder, socket: Path, progress: Progress) -> str:
    """Return the image of this machine's own Debian with its Python, made once.

    Raises:
        ServerMissing: it cannot be made.
    """
    release = platform.freedesktop_os_release()["VERSION_CODENAME"]
    image = f"{_IMAGE}:{release}"
    if engine.get(f"/images/{image}/json").is_success:
        return image
    progress(f"makes the image {image} (debootstrap; some minutes the first time)")
    root = folder.servers / "base"
    shutil.rmtree(root, ignore_errors=True)
    tool = machine_program("debootstrap", "debootstrap", progress)
    _run([str(tool), "--variant=minbase", "--include=python3", release, str(root)], "debootstrap")
    archive = folder.servers / "base.tar"
    needless = ("--exclude=./var/cache", "--exclude=./var/lib/apt")
    try:
        _run(
            ["tar", *needless, "-C", str(root), "-cf", str(archive), "."],
            "tar",
        )
        docker = machine_program("docker", "docker.io", progress)
        _run([str(docker), "--host", f"unix://{socket}", "import", str(archive), image], "docker import")
    finally:
        archive.unlink(missing_ok=True)
        shutil.rmtree(root, ignore_errors=True)
    return image


def _run(command: list[str], what: str) -> None:
    done = subprocess.run(
        command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, check=False,
        timeout=_BASE_S,
    )  # fmt: skip
    if done.returncode != 0:
        raise ServerMissing(f"{what} failed:\n{done.stdout[-3000:]}")
