"""The machine's models: each file once, by its SHA-256, read-only, whole or not there; releases link to them.

``blobs/<sha256>`` are the files, ``trees/<digest>`` a repository's as a folder of links, ``known/<digest>`` what a
source that cannot change was found to hold, ``partial`` what is being fetched, ``locks`` who fetches.
"""

from __future__ import annotations

import asyncio
import contextlib
import errno
import fcntl
import hashlib
import os
import shutil
import time
from collections.abc import AsyncIterator, Iterable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Final, Protocol

from algodock_common.identifiers import uuid7
from algodock_deployer.clients.downloads import check_room
from algodock_deployer.clients.files import drop, size_of, write_whole
from algodock_deployer.domain.errors import DiskFull, ModelDamaged, ModelNotFound
from algodock_deployer.domain.model_sources import HubModel, Link, StoreObject

if TYPE_CHECKING:
    from algodock_common.storage import ObjectStore
    from algodock_deployer.clients.downloads import Downloads
    from algodock_deployer.clients.model_hubs import HubFile, Hubs
    from algodock_deployer.domain.model_sources import ModelSource

__all__ = ["KeptModel", "ModelCache", "Models"]

LOOK_EVERY_S: Final = 0.1
UNUSED_S: Final = 86_400
AT_ONCE: Final = 4


@dataclass(frozen=True)
class KeptModel:
    """Where a model lies on this machine: a file, or a folder of links to ``blobs``; sizes in bytes."""

    place: Path
    blobs: tuple[Path, ...]
    size: int
    fetched: int


@dataclass(frozen=True)
class _Wanted:
    """A file to have: ``identity`` names content that cannot change (empty: it can)."""

    name: str
    identity: str
    sha256: str | None
    size: int | None
    url: str = ""
    key: str = ""


class Models(Protocol):
    """Keeps models for releases."""

    async def keep(self, source: ModelSource, sha256: str | None) -> KeptModel:
        """Return where the model lies, fetched if it is not there yet.

        Raises:
            ReleaseFailure: it is not there, damaged, refused, too large for the disk, or its server is away.
            AlgoDockError: the object store is away.
        """
        ...

    def present(self, places: Iterable[Path]) -> bool:
        """Return whether everything that a release noted is still here, and note that it is used."""
        ...

    def clean(self, used: Iterable[str]) -> Sequence[str]:
        """Remove what no release stands on and nobody used for a day; return the names of what went."""
        ...


class ModelCache:
    """``Models`` in one folder, for any number of deployers."""

    def __init__(
        self, root: Path, *, store: ObjectStore, downloads: Downloads, hubs: Hubs, min_free_bytes: int = 0
    ) -> None:
        """Nothing is made before the first model."""
        self.root = root.absolute()
        self._store, self._downloads, self._hubs, self._min_free = store, downloads, hubs, min_free_bytes
        self._locks: dict[str, asyncio.Lock] = {}

    async def keep(self, source: ModelSource, sha256: str | None) -> KeptModel:
        """Return where the model lies; see ``Models``."""
        self._make_folders()
        if isinstance(source, HubModel):
            return await self._from_hub(source, sha256)
        if isinstance(source, Link):
            wanted = _Wanted(source.url, "", sha256, None, url=source.url)
        else:
            wanted = await self._stored(source, sha256)
        return await self._file(wanted)

    def present(self, places: Iterable[Path]) -> bool:
        """Return whether all of them are here."""
        for place in places:
            try:
                os.utime(place)
            except OSError:
                return False
        return True

    def clean(self, used: Iterable[str]) -> Sequence[str]:
        """Remove what nobody needs; a file that is just fetched is younger than a day."""
        kept, now, gone = set(used), time.time(), []
        for part in ("blobs", "trees", "partial", "known"):  # not the locks: who waits for one has it open
            for path in (self.root / part).glob("*"):
                if path.name in kept or now - path.lstat().st_mtime < UNUSED_S:
                    continue
                if part == "known" and self._blob(_read(path)).is_file():
                    continue
                if path.is_dir():
                    shutil.rmtree(path, ignore_errors=True)
                else:
                    path.unlink(missing_ok=True)
                if part in {"blobs", "trees"}:
                    gone.append(path.name)
        return gone

    def _make_folders(self) -> None:
        # Who knows a file's checksum may read it; nobody but the platform may list what there is.
        for part, mode in (("", 0o711), ("blobs", 0o711), ("trees", 0o711), ("known", 0o700), ("partial", 0o700),
                           ("locks", 0o700)):  # fmt: skip
            folder = self.root / part
            if not folder.is_dir():
                folder.mkdir(parents=True, exist_ok=True)
                folder.chmod(mode)

    async def _stored(self, source: StoreObject, sha256: str | None) -> _Wanted:
        found = await self._store.stat(source.key)
        if found is None:
            raise ModelNotFound(f"there is no s3://{source.key} in the platform's object store; put it there first")
        return _Wanted(
            f"s3://{source.key}", f"s3:{source.key}:{found.etag}:{found.size}", sha256, found.size, key=source.key
        )

    async def _from_hub(self, model: HubModel, sha256: str | None) -> KeptModel:
        if model.file and (pinned := self._pinned(model, sha256)):
            return pinned
        files = await self._hubs.files(model)
        gate = asyncio.Semaphore(AT_ONCE)
        named = f"{model.hub}://{model.repository}@{model.revision}"

        async def one(file: HubFile) -> KeptModel:
            wanted = _Wanted(f"{named}/{file.path}", file.identity, sha256 or file.sha256, file.size, url=file.url)
            async with gate:
                return await self._file(wanted)

        tasks = [asyncio.create_task(one(file)) for file in files]
        try:
            kept = await asyncio.gather(*tasks)
        finally:
            for task in tasks:  # after the first error the others are not wanted
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)
        if model.file:
            return kept[0]
        places = {file.path: one.place for file, one in zip(files, kept, strict=True)}
        tree = await asyncio.to_thread(self._tree, places)
        size, fetched = sum(one.size for one in kept), sum(one.fetched for one in kept)
        return KeptModel(tree, tuple(sorted({one.place for one in kept})), size, fetched)

    def _pinned(self, model: HubModel, sha256: str | None) -> KeptModel | None:
        """Return a file that is here and cannot be another one: its checksum, or its commit, is in the manifest."""
        known = self.root / "known" / _digest_of(f"{model.hub}:{model.repository}@{model.revision}/{model.file}")
        found = sha256 or _read(known)
        if not found or not self.present([self._blob(found)]):
            return None
        blob = self._blob(found)
        return KeptModel(blob, (blob,), size_of(blob), 0)

    def _tree(self, files: dict[str, Path]) -> Path:
        """Make a folder of links, once for the same files."""
        listed = "".join(f"{path}\0{blob.name}\n" for path, blob in sorted(files.items()))
        tree = self.root / "trees" / hashlib.sha256(listed.encode()).hexdigest()
        if tree.is_dir():
            os.utime(tree)
            return tree
        made = self.root / "partial" / uuid7().hex
        for path, blob in files.items():
            (made / path).parent.mkdir(parents=True, exist_ok=True)
            (made / path).symlink_to(blob)
        for folder in (made, *(path for path in made.rglob("*") if path.is_dir() and not path.is_symlink())):
            folder.chmod(0o755)
        try:
            made.rename(tree)
        except OSError as error:
            if error.errno not in {errno.ENOTEMPTY, errno.EEXIST}:
                raise
            shutil.rmtree(made)  # somebody else was first
        return tree

    async def _file(self, wanted: _Wanted) -> KeptModel:
        known = self.root / "known" / _digest_of(wanted.identity) if wanted.identity else None
        async with self._turn(wanted.sha256 or _digest_of(wanted.identity or wanted.name)):
            sha256 = wanted.sha256 or _read(known)
            if sha256 and (blob := self._blob(sha256)).is_file():
                os.utime(blob)
                return KeptModel(blob, (blob,), blob.stat().st_size, 0)
            check_room(self.root, wanted.size or 0, self._min_free, wanted.name)
            partial = self.root / "partial" / (wanted.sha256 or _digest_of(wanted.identity or wanted.name))
            resumes = size_of(partial) > 0
            fetched = await self._fetch(wanted, partial)
            try:
                sha256 = await self._checked(wanted, partial)
            except ModelDamaged:
                if not resumes:
                    raise
                fetched += await self._fetch(wanted, partial)  # what was there from earlier was damaged
                sha256 = await self._checked(wanted, partial)
            blob, size = self._blob(sha256), size_of(partial)
            partial.chmod(0o444)
            partial.replace(blob)
            os.utime(blob)
            if known is not None:
                write_whole(known, sha256, 0o600)
        return KeptModel(blob, (blob,), size, fetched)

    async def _fetch(self, wanted: _Wanted, partial: Path) -> int:
        if wanted.url:
            same = bool(wanted.sha256 or wanted.identity)
            return await self._downloads.fetch(wanted.url, partial, size=wanted.size, same=same)
        try:
            await self._store.get_file(wanted.key, partial)
        except OSError as error:
            if error.errno in {errno.ENOSPC, errno.EDQUOT}:
                raise DiskFull(f"the disk below {self.root} is full; {wanted.name} did not fit") from error
            raise
        return size_of(partial)

    async def _checked(self, wanted: _Wanted, partial: Path) -> str:
        """Return the checksum of what was fetched.

        Raises:
            ModelDamaged: it is not the one that it should be; nothing of it is kept.
        """
        found = await asyncio.to_thread(_sha256, partial)
        if wanted.sha256 and found != wanted.sha256:
            drop(partial)
            raise ModelDamaged(f"{wanted.name} has the sha256 {found}, and should have {wanted.sha256}")
        return found

    def _blob(self, sha256: str) -> Path:
        return self.root / "blobs" / sha256

    @asynccontextmanager
    async def _turn(self, name: str) -> AsyncIterator[None]:
        """Be the only one on this machine that fetches ``name``; a killed one lets go of it."""
        async with self._locks.setdefault(name, asyncio.Lock()):
            descriptor = os.open(self.root / "locks" / name, os.O_RDWR | os.O_CREAT, 0o600)
            try:
                while True:
                    with contextlib.suppress(BlockingIOError):
                        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
                        break
                    await asyncio.sleep(LOOK_EVERY_S)  # the kernel tells nobody of a lock that was let go
                yield
            finally:
                os.close(descriptor)


def _digest_of(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()


def _read(path: Path | None) -> str:
    try:
        return path.read_text("ascii").strip() if path is not None else ""
    except FileNotFoundError:
        return ""


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
