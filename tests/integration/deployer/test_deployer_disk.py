"""A disk that fills up in the middle of a build: a clear failure, nothing left, and the next build succeeds."""

from __future__ import annotations

import os
import re
import subprocess
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import pytest

from .conftest import Maker, eventually

MIB = 2**20


@pytest.fixture
def small(root: Path) -> Iterator[Path]:
    """Put the releases onto a disk of 8 MiB."""
    folder = root / "services"
    folder.mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "-o", f"size={8 * MIB}", "tmpfs", folder], check=True)  # noqa: S607
    yield folder
    subprocess.run(["umount", "--lazy", folder], check=True)  # noqa: S607


@pytest.mark.skipif(os.geteuid() != 0, reason="only root mounts a small disk; the limit on free space is tested anyway")
async def test_a_disk_that_fills_up_in_a_build_fails_it_clearly_and_the_next_one_succeeds(
    small: Path, make: Maker
) -> None:
    async with make() as deployer:
        await deployer.live("filling", deployer.program("one"))
        writes = deployer.program("two") | {"algodock.yaml": "build: head -c 16777216 /dev/zero > large\n"}
        commit = await deployer.push("filling", writes)
        failed = await deployer.release("filling", commit, "failed", "live")
        assert re.search(r"build-command: .*No space left on device", failed.reason, re.DOTALL), failed.reason

        commit = await deployer.push("filling", deployer.program("three") | {"large": "x" * 16 * MIB})
        failed = await deployer.release("filling", commit, "failed", "live")
        assert re.search(r"fetch: .*No space left on device", failed.reason, re.DOTALL), failed.reason
        assert (await deployer.answer("filling"))["version"] == "one", "the release before serves on"

        async def tidy() -> bool:
            left = [path for path in small.rglob("large") if path.stat().st_size]
            with suppress(FileNotFoundError):
                left += list((small / "filling" / "releases").glob("*/.*"))
            return not left

        await eventually(tidy, 120, "what was written in vain to be gone")
        await deployer.live("filling", deployer.program("four"))
        assert (await deployer.answer("filling"))["version"] == "four"
