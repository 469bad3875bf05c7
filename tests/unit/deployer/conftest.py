"""What several tests of the deployer's clients stand on."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from aiohttp.test_utils import TestServer

from .model_origin import Machine, Origin


@pytest.fixture
async def machine(tmp_path: Path) -> AsyncIterator[Machine]:
    origin = Origin()
    async with TestServer(origin.application()) as server:
        origin.base = str(server.make_url("")).rstrip("/")
        yield Machine(tmp_path / "models", origin, trusted=(origin.base,))
