"""The page on bad input names tests; here they are looked for."""

from __future__ import annotations

import ast
import re
from pathlib import Path

TESTS = Path(__file__).parents[1]
PAGE = TESTS.parent / "docs" / "flow" / "07-bad-input.md"
NAMED = re.compile(r"`([\w/]+\.py)::(test_\w+)`")


def test_every_test_that_the_page_names_is_there() -> None:
    named = set(NAMED.findall(PAGE.read_text(encoding="utf-8")))
    assert len(named) > 25, "the page's way to name tests has changed"
    assert not {f"{path}::{name}" for path, name in named if name not in functions(TESTS / path)}


def functions(path: Path) -> set[str]:
    """Return the names of the functions that a test file has."""
    tree = ast.parse(path.read_text(encoding="utf-8"))
    return {node.name for node in tree.body if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)}
