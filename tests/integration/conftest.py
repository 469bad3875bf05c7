"""What the parts of several services share when they are tried on real servers."""

from __future__ import annotations

import pytest

from algodock_common.settings import SecretSettings


@pytest.fixture
def secrets() -> SecretSettings:
    return SecretSettings(secret_key="s" * 40)
