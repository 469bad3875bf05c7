"""Builds as another user, where that could not be had a moment ago."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from algodock_common.testing import FakeObjectStore
from algodock_deployer.clients.environments import UvEnvironments
from algodock_deployer.clients.sandbox import Sandbox
from algodock_deployer.clients.sdk import SdkPackage


@pytest.mark.skipif(os.geteuid() != 0, reason="only root builds as another user")
def test_what_was_built_as_the_platform_can_be_read_by_the_builder_later(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    sandbox = Sandbox(61_200, wanted=True)
    environments = UvEnvironments(
        tmp_path, uv="uv", store=FakeObjectStore(), sandbox=sandbox, sdk=SdkPackage.installed()
    )
    obstacles = ["the folder is closed to other users", ""]
    monkeypatch.setattr(sandbox, "obstacle", lambda *_: obstacles.pop(0))
    assert environments.builder_uid() is None
    cached = environments.cache / "uv" / ".git"
    cached.parent.mkdir()
    cached.touch(0o600)
    assert environments.builder_uid() == 61_200
    assert cached.stat().st_uid == 61_200
