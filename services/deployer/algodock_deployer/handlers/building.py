"""From a bundle to something that can be started: fetch, detect, models, environment, the manifest's own build."""

from __future__ import annotations

import asyncio
import os
import shutil
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from algodock_deployer.clients.bundles import FolderSource, unpack
from algodock_deployer.clients.files import link
from algodock_deployer.clients.tools import PATH, Tool
from algodock_deployer.domain.detection import detect
from algodock_deployer.domain.errors import SourceRefused, StepFailed
from algodock_deployer.domain.plan import Interpreters, Plan
from algodock_deployer.handlers.containers import build_image, check_container
from algodock_deployer.handlers.models import fetch_models
from algodock_deployer.handlers.progress import patiently
from algodock_deployer.handlers.secrets import check_secrets
from algodock_deployer.repository import Releases

if TYPE_CHECKING:
    from algodock_deployer.handlers.context import Context
    from algodock_deployer.handlers.progress import Progress

__all__ = ["Prepared", "prepare"]

BUILT = ".built"


@dataclass(frozen=True)
class Prepared:
    """A release that can be started; ``uid`` is who its programs run as, ``paths`` what goes before their PATH."""

    plan: Plan
    programs: Interpreters
    paths: tuple[Path, ...]
    uid: int | None


async def prepare(context: Context, progress: Progress) -> Prepared:
    """Bring the release to where it can be started; each step finds what an earlier try has done.

    Raises:
        ReleaseFailure: the source, its manifest, an environment or a build command cannot be.
        AlgoDockError: the object store stayed away.
    """
    release = progress.release
    async with progress.step("fetch", "building"):
        await _fetch(context, progress)
    async with progress.step("detect", "building"):
        source = FolderSource(context.folders.code(release.algorithm, release.id))
        plan = await asyncio.to_thread(detect, source)
        progress.note(f"{plan.kind} {plan.target or ' '.join(plan.command)}".rstrip())
        check_container(context, plan, release.algorithm)
        await check_secrets(context, progress.service, plan.manifest)
    if plan.manifest.models:
        async with progress.step("models", "building"):
            await fetch_models(context, progress, plan)
    async with progress.step("environment", "building"):
        prepared = await _environment(context, progress, plan)
    if plan.manifest.build:
        async with progress.step("build-command", "building"):
            await _build_command(context, progress, prepared)
    await asyncio.to_thread(context.sandbox.show, context.folders.code(release.algorithm, release.id), prepared.uid)
    return prepared


async def _fetch(context: Context, progress: Progress) -> None:
    release = progress.release
    if release.problem or not release.bundle_key:
        raise SourceRefused(release.problem or "the push carries no source")
    code = context.folders.code(release.algorithm, release.id)
    if code.is_dir():
        progress.note("already here")
        return
    await asyncio.to_thread(_check_room, context.folders.services, context.tuning.min_free_bytes)
    bundle, key = code.with_name("bundle.tar.gz"), release.bundle_key
    bundle.parent.mkdir(parents=True, exist_ok=True)
    try:
        await patiently(lambda: context.store.get_file(key, bundle), within_s=context.tuning.patience_s)
        count = await asyncio.to_thread(unpack, bundle, code, max_bytes=context.tuning.max_source_bytes)
    finally:
        bundle.unlink(missing_ok=True)
    progress.note(f"{count} files")


def _check_room(folder: Path, wanted: int) -> None:
    """Refuse to unpack onto a disk that is nearly full: what serves needs the rest for its logs."""
    folder.mkdir(parents=True, exist_ok=True)
    free = shutil.disk_usage(folder).free
    if free < wanted:
        msg = f"only {free // 2**20} MiB are free below {folder}; a release wants {wanted // 2**20}"
        raise StepFailed(msg)


async def _environment(context: Context, progress: Progress, plan: Plan) -> Prepared:
    release = progress.release
    folder = context.folders.release(release.algorithm, release.id)
    paths: tuple[Path, ...] = ()
    if plan.runtime == "docker":
        programs, key, reused = Interpreters(), "", await build_image(context, progress)
    elif plan.runtime == "python":
        made = await context.environments.prepare(
            plan.requirements, plan.manifest.python, sdk=plan.uses_sdk, log=progress.log
        )
        link(folder / "venv", made.folder)
        programs = Interpreters(python=str(made.python))
        paths = (made.folder / "bin",)
        key, reused = made.key, made.reused
    else:
        node = await context.node.node(progress.log)
        programs, paths = Interpreters(node=str(node.binary)), (node.binary.parent,)
        key, reused = "", True
        if plan.node_dependencies:
            packages = await context.node.packages(folder / "code", progress.log)
            key, reused = packages.key, packages.reused
            _link_packages(folder / "code" / "node_modules", packages.folder / "node_modules")
            paths = (packages.folder / "node_modules" / ".bin", *paths)
    progress.note("unchanged" if reused else "built")
    uid = None if plan.runtime == "docker" else _owner(context, progress, plan, programs)
    values = {"plan": plan.model_dump(mode="json", by_alias=True), "environment_key": key or None}
    async with context.database.transaction() as tx:
        progress.release = await Releases(tx.session).update(release.id, **values)
    return Prepared(plan, programs, paths, uid)


def _link_packages(path: Path, target: Path) -> None:
    """Put the installed packages where Node.js looks for them; a committed folder gives way."""
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path)
    link(path, target)


def _owner(context: Context, progress: Progress, plan: Plan, programs: Interpreters) -> int | None:
    """Return the uid of the service's programs; None where they run as the platform.

    Its home is its own. Its code is while it is built, and only to be read from then on.
    """
    release = progress.release
    folder, home = context.folders.release(release.algorithm, release.id), context.folders.home(release.algorithm)
    home.mkdir(parents=True, exist_ok=True)
    uid = context.sandbox.uid(
        progress.service.number,
        folder,
        context.folders.environments,
        *([context.folders.models] if plan.manifest.models else []),
        *(Path(p) for p in (programs.python, programs.node) if p),
    )
    if uid is not None:
        if plan.manifest.build and not (folder / BUILT).exists():
            context.sandbox.give(folder / "code", uid)
        context.sandbox.give(home, uid)
    return uid


async def _build_command(context: Context, progress: Progress, prepared: Prepared) -> None:
    """Run the manifest's build command once, with the release's environment before its PATH."""
    release, manifest = progress.release, prepared.plan.manifest
    folder = context.folders.release(release.algorithm, release.id)
    if (folder / BUILT).exists():
        progress.note("already built")
        return
    home = context.folders.home(release.algorithm)
    variables = {
        **manifest.env,
        "PATH": os.pathsep.join([*map(str, prepared.paths), PATH]),
        "HOME": str(home),
        "TMPDIR": str(home),
        "LANG": "C.UTF-8",
        "PYTHONUNBUFFERED": "1",
    }
    argv = ["/bin/sh", "-c", manifest.build or ""]
    tool = Tool("build", argv, variables, folder / "code", context.tuning.build_timeout_s, prepared.uid)
    await context.tools(tool, progress.log)
    (folder / BUILT).touch()
    progress.note(manifest.build or "")
