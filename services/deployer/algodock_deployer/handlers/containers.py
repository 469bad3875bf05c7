"""Releases that run in containers: whether they can here, their image, and what their program is told instead."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from algodock_deployer.domain.containers import INSIDE, image_tag
from algodock_deployer.domain.errors import ManifestInvalid, NotSupported
from algodock_deployer.handlers.models import model_places
from algodock_deployer.handlers.progress import patiently

if TYPE_CHECKING:
    from algodock_deployer.domain.plan import Plan
    from algodock_deployer.domain.programs import ProgramSpec
    from algodock_deployer.domain.releases import Instance
    from algodock_deployer.handlers.building import Prepared
    from algodock_deployer.handlers.context import Context
    from algodock_deployer.handlers.progress import Progress

__all__ = ["build_image", "check_container", "contained", "in_container"]

_HOSTS_OWN = frozenset({"ALGODOCK_HEARTBEAT_URL", "ALGODOCK_DEBUG_LOG", "CUDA_DEVICE_ORDER", "CUDA_VISIBLE_DEVICES"})
"""What means the machine: its loopback address, its folders, its numbers of GPUs. In a container neither is there.
The docker driver says where a container's heartbeats go."""


def in_container(context: Context, plan: Plan, algorithm: str) -> bool:
    """Return whether the release runs in a container: it has a Dockerfile, or its mode says so."""
    return plan.runtime == "docker" or context.modes.of(algorithm) == "docker"


def check_container(context: Context, plan: Plan, algorithm: str) -> None:
    """See to it that a release that needs a container can have one.

    Raises:
        NotSupported: there is no Docker Engine, or no image for what has no Dockerfile.
        ManifestInvalid: it has a build command and a Dockerfile.
    """
    if not in_container(context, plan, algorithm):
        return
    if context.images is None:
        raise NotSupported(
            "it needs the docker driver, which this platform does not run: DOCKER_HOST is not set, and there is no "
            "/var/run/docker.sock"
        )
    if plan.runtime != "docker" and not context.tuning.docker_image:
        raise NotSupported(
            "deployment.mode is docker; without a Dockerfile that needs an image to run it in: DEPLOYER_DOCKER_IMAGE"
        )
    if plan.runtime == "docker" and plan.manifest.build:
        raise ManifestInvalid("algodock.yaml: build: what a Dockerfile describes is built by its own RUN lines")


async def build_image(context: Context, progress: Progress) -> bool:
    """Build the release's Dockerfile; return whether that had been done before.

    Raises:
        StepFailed: a step of it failed.
    """
    release, images = progress.release, context.images
    if images is None:
        raise NotSupported("there is no Docker Engine any more")
    tag = image_tag(release.algorithm, release.id)
    if await patiently(lambda: images.has(tag), within_s=context.tuning.patience_s):
        return True
    await images.build(context.folders.code(release.algorithm, release.id), tag, progress.log)
    return False


def contained(context: Context, prepared: Prepared, instance: Instance, spec: ProgramSpec) -> ProgramSpec:
    """Return the program as a container's: its image, its folders read-only, and no way to the machine's own."""
    plan, folders = prepared.plan, context.folders
    environment = {name: value for name, value in spec.environment.items() if name not in _HOSTS_OWN}
    environment |= {"HOST": INSIDE, "SERVICE_HOST": INSIDE, "HOME": "/tmp", "TMPDIR": "/tmp"}  # noqa: S108  # its own
    argv = tuple(plan.argv(prepared.programs, INSIDE, instance.port))
    limits = replace(spec.limits, cpu=plan.manifest.resources.cpu)
    spec = replace(spec, argv=argv, mode="docker", port=instance.port, limits=limits, groups=())
    if plan.runtime == "docker":
        for name in ("PATH", "PYTHONPATH"):
            environment.pop(name)  # the image has its own
        image = image_tag(instance.algorithm, instance.release_id)
        return replace(spec, image=image, environment=environment, uid=None)
    places = [spec.folder, folders.config, folders.import_path, folders.environments / "pythons"]
    places += [path.parent for path in prepared.paths]
    places += model_places(folders, instance.algorithm, instance.release_id)
    return replace(
        spec,
        image=context.tuning.docker_image,
        environment=environment,
        mounts=tuple(dict.fromkeys(path for path in places if Path(path).exists())),
    )
