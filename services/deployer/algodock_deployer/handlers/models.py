"""A release's models: fetched once a machine, linked to where the manifest wants them, cleaned when nobody has them."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import shutil
from pathlib import Path
from typing import TYPE_CHECKING, Any

import structlog

from algodock_deployer.clients.files import write_whole
from algodock_deployer.domain.errors import SourceRefused
from algodock_deployer.handlers.progress import patiently

if TYPE_CHECKING:
    from uuid import UUID

    from algodock_deployer.domain.folders import Folders
    from algodock_deployer.domain.manifest import ModelFile
    from algodock_deployer.domain.plan import Plan
    from algodock_deployer.handlers.context import Context
    from algodock_deployer.handlers.progress import Progress

__all__ = ["clean_models", "fetch_models", "model_places"]

log = structlog.get_logger()


async def fetch_models(context: Context, progress: Progress, plan: Plan) -> None:
    """Have every model of the manifest in its place; what an earlier start of the release had is used as it was.

    Raises:
        ReleaseFailure: one is not to be had, or its place is taken.
        AlgoDockError: the object store stayed away.
    """
    release = progress.release
    notes = context.folders.model_notes(release.algorithm, release.id)
    before = {note["path"]: note for note in _read(notes)}
    noted, size, fetched = [], 0, 0
    for model in plan.manifest.models:
        note = before.get(model.path)
        if note is None or note["from"] != model.source or note["sha256"] != model.sha256 or not _here(context, note):
            note, came = await _keep(context, model)
            fetched += came
            progress.log.say(f"models: {model.path}: {model.source}, {_amount(note['size'])}, {_amount(came)} fetched")
        noted.append(note)
        size += note["size"]
    await asyncio.to_thread(write_whole, notes, json.dumps(noted), 0o600)
    code = context.folders.code(release.algorithm, release.id)
    copies = plan.runtime == "docker"  # its image is made from the folder: a link would lead out of it
    for note in noted:
        await asyncio.to_thread(_put, code, note["path"], Path(note["place"]), copies=copies)
    count = f"{len(noted)} model{'s' if len(noted) != 1 else ''}"
    progress.note(f"{count}, {_amount(size)}; {f'{_amount(fetched)} fetched' if fetched else 'nothing fetched'}")


async def _keep(context: Context, model: ModelFile) -> tuple[dict[str, Any], int]:
    kept = await patiently(lambda: context.models.keep(model.place, model.sha256), within_s=context.tuning.patience_s)
    blobs = [str(path) for path in kept.blobs]
    return {
        "path": model.path, "from": model.source, "sha256": model.sha256, "place": str(kept.place), "blobs": blobs,
        "size": kept.size,
    }, kept.fetched  # fmt: skip


def _here(context: Context, note: dict[str, Any]) -> bool:
    return context.models.present([Path(note["place"]), *map(Path, note["blobs"])])


def _read(notes: Path) -> list[dict[str, Any]]:
    try:
        found: list[dict[str, Any]] = json.loads(notes.read_text(encoding="utf-8"))
    except FileNotFoundError:
        return []
    return found


def _put(code: Path, path: str, place: Path, *, copies: bool) -> None:
    """Make ``path`` a link to ``place``. A build of the release may have left links of its own: none is followed.

    Raises:
        SourceRefused: the repository has a folder there, or something else above it.
    """
    *above, name = path.split("/")
    folder = os.open(code, os.O_RDONLY | os.O_DIRECTORY)
    try:
        for part in above:
            with contextlib.suppress(FileExistsError):
                os.mkdir(part, 0o755, dir_fd=folder)
            inner = os.open(part, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW, dir_fd=folder)
            os.close(folder)
            folder = inner
        if copies:
            _copy(folder, name, place)
            return
        with contextlib.suppress(OSError):
            if os.readlink(name, dir_fd=folder) == str(place):
                return
        with contextlib.suppress(FileNotFoundError):
            os.unlink(name, dir_fd=folder)  # a committed stand-in, such as a pointer of git-lfs
        os.symlink(place, name, dir_fd=folder)
    except (NotADirectoryError, IsADirectoryError, PermissionError) as error:
        raise SourceRefused(f"models: the repository has something else at {path}: {error.strerror}") from error
    finally:
        os.close(folder)


def _copy(folder: int, name: str, place: Path) -> None:
    """Have the file itself, or the folder's, in an open folder: another name of the same file where that can be."""
    below = Path(f"/proc/self/fd/{folder}") / name
    files = [(below, place)] if place.is_file() else [
        (below / path.relative_to(place), path) for path in place.rglob("*") if path.is_file()
    ]  # fmt: skip
    for target, source in files:
        target.parent.mkdir(parents=True, exist_ok=True)
        target.unlink(missing_ok=True)
        try:
            os.link(source.resolve(), target)
        except OSError:
            shutil.copyfile(source, target)


def model_places(folders: Folders, algorithm: str, release_id: UUID) -> tuple[Path, ...]:
    """Return every path of the cache that the release's links lead to."""
    notes = _read(folders.model_notes(algorithm, release_id))
    return tuple(dict.fromkeys(Path(path) for note in notes for path in (note["place"], *note["blobs"])))


async def clean_models(context: Context) -> None:
    """Remove models that no release on this machine stands on any more."""
    gone = await asyncio.to_thread(_clean, context)
    if gone:
        log.info("models_cleaned", count=len(gone))


def _clean(context: Context) -> list[str]:
    used: set[str] = set()
    for notes in context.folders.services.glob("*/releases/*/models.json"):
        used.update(Path(path).name for note in _read(notes) for path in (note["place"], *note["blobs"]))
    return list(context.models.clean(used))


def _amount(size: int) -> str:
    for unit in ("B", "KiB", "MiB"):
        if size < 1024:  # noqa: PLR2004  # the next unit
            return f"{size:.0f} {unit}" if unit == "B" else f"{size:.1f} {unit}"
        size /= 1024  # type: ignore[assignment]  # shown, not counted
    return f"{size:.1f} GiB"
