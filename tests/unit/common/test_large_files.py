"""Large files on their way to the object store leave the cores to what calls wait for."""

from __future__ import annotations

import asyncio
import os
import threading
import time
from pathlib import Path
from typing import Any

import pytest
from pydantic import SecretStr

from algodock_common.scheduling import BUILD_NICE
from algodock_common.settings import ObjectStoreSettings
from algodock_common.storage import MinioObjectStore
from algodock_common.storage.paced_file import PacedFile

LARGE = 6 * 2**20


async def test_large_files_are_stored_one_at_a_time_by_a_thread_that_yields(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    settings = ObjectStoreSettings(
        endpoint="http://127.0.0.1:1", access_key=SecretStr("a"), secret_key=SecretStr("b"), bucket="b"
    )
    store, at_once, most, nice = MinioObjectStore(settings), 0, 0, {}
    lock, paced = threading.Lock(), {}

    def write(key: str, body: Any, *_: Any) -> None:
        nonlocal at_once, most
        paced[key] = isinstance(body, PacedFile)
        nice[key] = os.getpriority(os.PRIO_PROCESS, threading.get_native_id())
        with lock:
            at_once += 1
            most = max(most, at_once)
        time.sleep(0.05)  # the length of an upload
        with lock:
            at_once -= 1

    monkeypatch.setattr(store, "_write", write)
    (tmp_path / "large").write_bytes(b"")
    os.truncate(tmp_path / "large", LARGE)
    (tmp_path / "small").write_bytes(b"x")
    await asyncio.gather(*(store.put_file(f"large-{n}", tmp_path / "large") for n in range(3)))
    assert most == 1
    await store.put_file("small", tmp_path / "small")
    ours = os.getpriority(os.PRIO_PROCESS, 0)
    assert (nice["small"], nice["large-0"]) == (ours, max(BUILD_NICE, ours))
    assert (paced["small"], paced["large-0"]) == (False, True)
    await store.close()
