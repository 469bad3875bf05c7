"""What of an author's file is served."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from algodock_sdk.algorithm import Algorithm, AlgorithmError, load_algorithm


@pytest.fixture(autouse=True)
def _clean(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[None]:
    monkeypatch.chdir(tmp_path)
    path = list(sys.path)
    yield
    sys.path[:] = path
    sys.modules.pop("ai_algorithm", None)


def load(folder: Path, source: str) -> Algorithm:
    file = folder / "ai_algorithm.py"
    file.write_text(source)
    return load_algorithm(file)


def test_a_function_is_served(tmp_path: Path) -> None:
    algorithm = load(tmp_path, '"""Adds."""\n__version__ = "2"\ndef predict(a: int): return a + 1')
    assert algorithm.predict(a=1) == 2
    assert (algorithm.version, algorithm.description, algorithm.name) == ("2", "Adds.", tmp_path.name)


async def test_a_class_is_made_once_and_its_hooks_run(tmp_path: Path) -> None:
    algorithm = load(
        tmp_path,
        "class Algorithm:\n    def load(self): self.model = 5\n    async def close(self): self.model = None\n"
        "    def predict(self, a: int): return a * self.model\n",
    )
    await algorithm.run_hook("load")
    assert algorithm.predict(a=2) == 10
    await algorithm.run_hook("close")
    await Algorithm.of(lambda: 1, name="x").run_hook("load")  # no hook, nothing to do


def test_the_only_class_with_a_predict_may_have_any_name(tmp_path: Path) -> None:
    assert load(tmp_path, "class Model:\n    def predict(self): return 1\nclass Other: pass\n").predict() == 1


@pytest.mark.parametrize(
    ("source", "why"),
    [
        ("x = 1", "neither a function predict nor a class"),
        ("predict = 3", "neither a function predict nor a class"),
        ("class A:\n def predict(self): ...\nclass B:\n def predict(self): ...\n", "2 classes"),
        ("def predict(*a): ...", "has no name"),
    ],
)
def test_what_cannot_be_served_is_explained(tmp_path: Path, source: str, why: str) -> None:
    with pytest.raises(AlgorithmError, match=why):
        load(tmp_path, source)


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(AlgorithmError, match=r"ai_algorithm\.py"):
        load_algorithm(tmp_path / "ai_algorithm.py")


def test_files_beside_it_are_found_from_its_folder(tmp_path: Path) -> None:
    (tmp_path / "part.py").write_text("VALUE = 7")
    (tmp_path / "data.txt").write_text("8")
    algorithm = load(tmp_path, "import part\ndef predict(): return part.VALUE, open('data.txt').read()")
    assert algorithm.predict() == (7, "8")
    sys.modules.pop("part")
