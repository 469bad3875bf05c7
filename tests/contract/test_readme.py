"""The README says what the code says: its picture is the flow table's."""

from __future__ import annotations

from pathlib import Path

import pytest

from algodock_common.events.picture import mermaid

ROOT = Path(__file__).parents[2]


@pytest.mark.parametrize("name", ["README.md", "README.zh-CN.md"])
def test_the_picture_is_drawn_from_the_flow_table(name: str) -> None:
    """Draw it anew with ``python -m algodock_common.events.picture``."""
    assert f"```mermaid\n{mermaid()}\n```" in (ROOT / name).read_text()
