"""What nobody needs any more goes: folders of old releases, environments that nothing stands on, services removed."""

from __future__ import annotations

import asyncio
import shutil
import time
from typing import TYPE_CHECKING

import structlog

from algodock_common.errors import AlgoDockError
from algodock_deployer.domain.containers import image_tag
from algodock_deployer.handlers.models import clean_models
from algodock_deployer.repository import Instances, Releases, Secrets, Services, Timeline

if TYPE_CHECKING:
    from pathlib import Path
    from uuid import UUID

    from algodock_deployer.domain.folders import Folders
    from algodock_deployer.domain.releases import Release
    from algodock_deployer.handlers.context import Context

__all__ = ["clean", "remove_folder", "unlink_service"]

log = structlog.get_logger()

KEPT_FOLDERS = frozenset({"cache", "home", "locks", "pythons"})
UNUSED_S = 86_400
LEFTOVER_S = 3600
BUILD_LOG_S = 7 * 86_400


async def clean(context: Context) -> None:
    """Remove what is past its time; run again, it removes nothing more."""
    async with context.database.read() as session:
        services = await Services(session).all(removed=True)
    for service in services:
        keep = context.tuning.keep_releases
        if service.desired == "removed":
            age = time.time() - service.updated_at.timestamp()
            keep = keep if age < context.tuning.keep_removed_s else 0
            if keep == 0:
                async with context.database.transaction() as tx:
                    await Secrets(tx.session).remove(service.id)
        async with context.database.read() as session:
            ended = await Releases(session).cleanable(service.id, keep=keep)
            present = {one.release_id for one in await Instances(session).of_service(service.id)}
        for release_id in ended:
            if release_id not in present:
                await _clean_release(context, service.name, release_id)
    async with context.database.transaction() as tx:
        await Timeline(tx.session).trim(keep=context.tuning.keep_timeline)
    async with context.database.read() as session:
        used = set(await Releases(session).environments_in_use())
    await asyncio.to_thread(_clean_environments, context.folders.environments, used)
    await asyncio.to_thread(_clean_build_logs, context.folders.build_logs)
    await clean_models(context)


async def _clean_release(context: Context, name: str, release_id: UUID) -> None:
    folder = context.folders.release(name, release_id)
    await asyncio.to_thread(shutil.rmtree, folder, ignore_errors=True)
    if context.images is not None:
        try:
            await context.images.remove(image_tag(name, release_id))
        except AlgoDockError as error:
            log.warning("image_not_removed", release=str(release_id), error=error.detail)
    short = str(release_id)[-12:]
    for path in (context.folders.logs / "releases").glob(f"ai-{name}-*-{short}*.log*"):
        path.unlink(missing_ok=True)
    async with context.database.transaction() as tx:
        await Releases(tx.session).cleaned(release_id)
    log.info("release_cleaned", algorithm=name, release=str(release_id))


async def remove_folder(context: Context, release: Release) -> None:
    """Remove at once what a release that never served wrote: a disk that it filled is free for the next one.

    Not while an instance of it is there: one that was taken back while others came may have calls open.
    """
    async with context.database.read() as session:
        present = await Instances(session).of_service(release.service_id)
    if all(one.release_id != release.id for one in present):
        folder = context.folders.release(release.algorithm, release.id)
        await asyncio.to_thread(shutil.rmtree, folder, ignore_errors=True)


def _clean_environments(root: Path, used: set[str]) -> None:
    """Remove environments that were not used for a day, and what crashed builds left."""
    if not root.is_dir():
        return
    now = time.time()
    for folder in root.iterdir():
        if folder.name in KEPT_FOLDERS or folder.name in used or not folder.is_dir():
            continue
        age = now - folder.stat().st_mtime
        if age > (LEFTOVER_S if folder.name.startswith(".") else UNUSED_S):
            shutil.rmtree(folder, ignore_errors=True)
            log.info("environment_cleaned", environment=folder.name)


def _clean_build_logs(folder: Path) -> None:
    """Remove local copies of builds' output after a week; the object store has them."""
    for path in folder.glob("*.log"):
        if time.time() - path.stat().st_mtime > BUILD_LOG_S:
            path.unlink(missing_ok=True)


def unlink_service(folders: Folders, name: str) -> None:
    """Take away the stable names of a service that was removed; its releases stay for a while."""
    for path in (
        *(folders.service(name) / link for link in ("current", "start.sh", "venv")),
        *(folders.stable_log(name, stream) for stream in ("stdout", "stderr")),
    ):
        path.unlink(missing_ok=True)
