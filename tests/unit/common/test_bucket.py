"""The bucket is made however late the object store comes up; nobody's start waits for that."""

from __future__ import annotations

import asyncio

import pytest

from algodock_common.storage import BucketKeeper, ObjectStoreUnavailable, bucket
from algodock_common.testing.object_store import FakeObjectStore


class Late(FakeObjectStore):
    """A store that is away for the first ``away`` questions, or does not answer while ``hangs``."""

    def __init__(self, away: int = 0, *, hangs: bool = False) -> None:
        super().__init__()
        self.asked = 0
        self.made = asyncio.Event()
        self._away, self._hangs = away, hangs

    async def ensure_bucket(self) -> None:
        self.asked += 1
        if self._hangs:
            await asyncio.Event().wait()
        if self.asked <= self._away:
            msg = "The object store cannot be reached."
            raise ObjectStoreUnavailable(msg)
        self.made.set()


async def test_a_store_that_is_there_has_its_bucket_when_the_start_returns() -> None:
    store = Late()
    keeper = BucketKeeper(store)
    await keeper.start()
    assert store.made.is_set()
    await keeper.stop()


async def test_a_store_that_comes_late_gets_its_bucket_then(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(bucket, "RETRY_S", 0.01)
    monkeypatch.setattr(bucket, "FIRST_S", 0)
    store = Late(away=3)
    keeper = BucketKeeper(store)
    await keeper.start()
    async with asyncio.timeout(60):
        await store.made.wait()
    assert store.asked == 4
    await keeper.stop()


async def test_a_store_that_hangs_holds_up_neither_the_start_nor_the_end(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(bucket, "FIRST_S", 0.01)
    keeper = BucketKeeper(Late(hangs=True))
    async with asyncio.timeout(60):
        await keeper.start()
        await keeper.stop()
