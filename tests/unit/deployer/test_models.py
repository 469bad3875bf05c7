"""Models: fetched once from object stores, servers and hubs, kept whole, and refused where they must not come from."""

from __future__ import annotations

import asyncio
import os
import time
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from algodock_deployer.clients.downloads import Downloads
from algodock_deployer.domain.errors import (
    DiskFull,
    ModelDamaged,
    ModelNotFound,
    ModelRefused,
    ModelSourceAway,
    SourceRefused,
)
from algodock_deployer.domain.model_sources import HubModel, Link, StoreObject
from algodock_deployer.handlers.models import _put

from .model_origin import CONTENT, Machine, sha256

if TYPE_CHECKING:
    from algodock_deployer.domain.model_sources import ModelSource


async def test_a_model_is_fetched_once_whoever_wants_it(machine: Machine) -> None:
    source, digest = machine.link()
    one, other = machine.cache(), machine.cache()
    kept = await asyncio.gather(*(cache.keep(source, digest) for cache in (one, other, one)))
    assert len(machine.origin.fetched("x.bin")) == 1
    assert sorted(each.fetched for each in kept) == [0, 0, len(CONTENT)]
    (place,) = {each.place for each in kept}
    assert place.read_bytes() == CONTENT
    assert place.name == digest
    assert place.stat().st_mode & 0o777 == 0o444
    assert (machine.root / "blobs").stat().st_mode & 0o777 == 0o711, "who does not know its name does not find it"


async def test_an_interrupted_download_goes_on_where_it_stopped(machine: Machine) -> None:
    source, digest = machine.link()
    machine.origin.breaks = 2
    kept = await machine.cache().keep(source, digest)
    assert kept.place.read_bytes() == CONTENT
    first, *later = machine.origin.fetched("x.bin")
    assert first == ""
    assert later
    assert all(ranges.startswith("bytes=") for ranges in later)


async def test_a_part_that_a_crash_damaged_is_fetched_anew(machine: Machine) -> None:
    source, digest = machine.link()
    cache = machine.cache()
    (machine.root / "partial").mkdir(parents=True)
    (machine.root / "partial" / digest).write_bytes(b"x" * 1000)
    kept = await cache.keep(source, digest)
    assert kept.place.read_bytes() == CONTENT
    assert machine.origin.fetched("x.bin") == ["bytes=1000-", ""]


async def test_another_checksum_is_refused_and_leaves_nothing(machine: Machine) -> None:
    source, _ = machine.link()
    with pytest.raises(ModelDamaged, match=f"has the sha256 {sha256(CONTENT)}, and should have {'a' * 64}"):
        await machine.cache().keep(source, "a" * 64)
    assert not machine.left


@pytest.mark.parametrize(
    ("status", "error", "said"),
    [
        (404, ModelNotFound, "is not there"),
        (403, ModelRefused, "a licence to accept"),
        (503, ModelSourceAway, "answered 503. Is its server up"),
    ],
)
async def test_what_a_server_will_not_give_is_said(
    machine: Machine, status: int, error: type[Exception], said: str
) -> None:
    source, digest = machine.link()
    machine.origin.status = status
    with pytest.raises(error, match=said):
        await machine.cache().keep(source, digest)
    assert not machine.left


async def test_a_server_that_is_away_is_said(machine: Machine) -> None:
    machine.trusted = ("http://127.0.0.1:9",)
    with pytest.raises(ModelSourceAway, match=r"http://127.0.0.1:9/x cannot be fetched: .* does this machine reach it"):
        await machine.cache().keep(Link("http://127.0.0.1:9/x"), "a" * 64)


INSIDE = ("127.0.0.1", "localhost", "[::1]", "169.254.169.254", "0.0.0.0", "[::ffff:127.0.0.1]", "[64:ff9b::7f00:1]")  # noqa: S104  # asked for, not bound


@pytest.mark.parametrize("host", INSIDE)
async def test_nothing_comes_from_the_machines_own_addresses(machine: Machine, host: str) -> None:
    machine.link()
    machine.trusted = ("http://127.0.0.1:1", "http://localhost:1")  # another server there is trusted
    port = machine.origin.base.rpartition(":")[2]
    with pytest.raises(ModelRefused, match="do not come from this machine's own addresses"):
        await machine.cache().keep(Link(f"http://{host}:{port}/files/x.bin"), sha256(CONTENT))
    assert not machine.origin.asked


async def test_a_redirect_is_checked_like_the_url_itself(machine: Machine) -> None:
    machine.link()
    port = machine.origin.base.rpartition(":")[2]
    for to, said in ((f"http://localhost:{port}/files/x.bin", "own addresses"), ("file:///etc/passwd", "no http"),
                     ("/away?to=/away", "more than 5 times")):  # fmt: skip
        with pytest.raises(ModelRefused, match=said):
            await machine.cache().keep(Link(f"{machine.origin.base}/away?to={to}"), sha256(CONTENT))
    kept = await machine.cache().keep(Link(f"{machine.origin.base}/away?to=/files/x.bin"), sha256(CONTENT))
    assert kept.place.read_bytes() == CONTENT


async def test_a_model_that_does_not_fit_is_not_begun(machine: Machine) -> None:
    source, digest = machine.link()
    await machine.store.put("models/x.bin", CONTENT)
    with pytest.raises(DiskFull, match=r"MiB are free below .*models"):
        await machine.cache(min_free=2**60).keep(source, digest)
    with pytest.raises(DiskFull, match=r"s3://models/x.bin wants 3 MiB"):
        await machine.cache(min_free=2**60).keep(StoreObject("models/x.bin"), None)
    assert not machine.left
    assert not machine.origin.asked


async def test_a_disk_that_fills_up_under_a_model_ends_its_fetch_and_leaves_nothing(machine: Machine) -> None:
    source, digest = machine.link()
    await machine.store.put("models/x.bin", CONTENT)
    (machine.root / "partial").mkdir(parents=True)
    (machine.root / "partial" / digest).symlink_to("/dev/full")
    with pytest.raises(DiskFull, match=r"the disk below .*models is full; http.*x\.bin did not fit"):
        await machine.cache().keep(source, digest)
    assert not machine.left
    assert len(machine.origin.asked) == 1, "another try would find it as full"
    (machine.root / "partial" / digest).symlink_to("/dev/full")
    with pytest.raises(DiskFull, match=r"the disk below .*models is full; s3://models/x\.bin did not fit"):
        await machine.cache().keep(StoreObject("models/x.bin"), digest)


@pytest.mark.parametrize("announced", [True, False])
async def test_a_download_that_does_not_fit_is_not_begun_or_ends_on_its_way(
    machine: Machine, monkeypatch: pytest.MonkeyPatch, *, announced: bool
) -> None:
    monkeypatch.setattr("algodock_deployer.clients.downloads.BLOCK", 1024)
    source, _ = machine.link()
    machine.origin.announces = announced
    path = machine.root.parent / "x.bin"
    with pytest.raises(DiskFull, match="MiB are free below"):
        await Downloads(machine.trusted, min_free_bytes=2**60).fetch(source.url, path, size=None, same=False)
    assert not path.exists() if announced else path.stat().st_size < len(CONTENT)


async def test_an_object_is_fetched_once_until_it_is_another(machine: Machine) -> None:
    cache, source = machine.cache(), StoreObject("models/x.bin")
    with pytest.raises(ModelNotFound, match=r"there is no s3://models/x.bin in the platform's object store"):
        await cache.keep(source, None)
    await machine.store.put("models/x.bin", CONTENT)
    first, again = await cache.keep(source, None), await cache.keep(source, None)
    assert (first.fetched, again.fetched, again.place) == (len(CONTENT), 0, first.place)
    await machine.store.put("models/x.bin", b"newer")
    newer = await cache.keep(source, None)
    assert newer.place.read_bytes() == b"newer"
    assert first.place.read_bytes() == CONTENT, "the release before stands on it"
    with pytest.raises(ModelDamaged):
        await cache.keep(source, sha256(CONTENT + b"x"))


async def test_what_no_release_stands_on_goes_after_a_day(machine: Machine) -> None:
    cache = machine.cache()
    kept = {}
    for name in ("used", "young", "old"):
        content = name.encode()
        kept[name] = (await cache.keep(*machine.link(name, content))).place
    for name in ("used", "old"):
        os.utime(kept[name], (time.time() - 90_000,) * 2)
    assert list(cache.clean([kept["used"].name])) == [kept["old"].name]
    assert kept["used"].exists()
    assert kept["young"].exists()
    assert cache.present([kept["used"], kept["young"]])
    assert not cache.present([kept["used"], kept["old"]])


def test_a_model_takes_the_place_of_a_stand_in_and_follows_no_link_of_a_build(tmp_path: Path) -> None:
    code, place, outside = tmp_path / "code", tmp_path / "blob", tmp_path / "outside"
    place.write_bytes(b"model")
    for folder in (code / "real", code / "models", outside):
        folder.mkdir(parents=True)
    (code / "models" / "x.bin").write_text("version https://git-lfs.github.com/spec/v1")
    for _ in range(2):
        _put(code, "models/x.bin", place, copies=False)
        assert (code / "models" / "x.bin").read_bytes() == b"model"
    _put(code, "models/copy.bin", place, copies=True)
    assert not (code / "models" / "copy.bin").is_symlink()
    (code / "evil").symlink_to(outside)
    for path, said in (("evil/x.bin", "something else at evil/x.bin"), ("real", "something else at real"),
                       ("models/x.bin/y", "something else at models/x.bin/y")):  # fmt: skip
        with pytest.raises(SourceRefused, match=said):
            _put(code, path, place, copies=False)
    assert not list(outside.iterdir())


async def test_what_a_source_was_found_to_hold_is_known_for_as_long_as_that_is_kept(machine: Machine) -> None:
    cache, source = machine.cache(), StoreObject("models/x.bin")
    await machine.store.put("models/x.bin", CONTENT)
    blob = (await cache.keep(source, None)).place
    for path in (machine.root / "known").iterdir():
        os.utime(path, (time.time() - 90_000,) * 2)
    assert not cache.clean([blob.name])
    assert (await cache.keep(source, None)).fetched == 0
    for path in (blob, *(machine.root / "known").iterdir()):
        os.utime(path, (time.time() - 90_000,) * 2)
    assert cache.clean([])
    assert not machine.left


async def test_every_kind_of_source_has_its_way(machine: Machine) -> None:
    machine.origin.files["x.bin"] = CONTENT
    await machine.store.put("models/x.bin", CONTENT)
    sources: list[tuple[ModelSource, str | None]] = [
        machine.link(), (StoreObject("models/x.bin"), None), (HubModel("hf", "o/n", "main", "x.bin"), None),
        (HubModel("modelscope", "o/n", "master", "x.bin"), sha256(CONTENT)),
    ]  # fmt: skip
    kept = [await machine.cache().keep(source, digest) for source, digest in sources]
    assert len({each.place for each in kept}) == 1, "the same bytes are kept once, wherever they come from"
