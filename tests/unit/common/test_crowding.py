"""Who moves a large file pauses while programs wait for a core, and only then."""

from __future__ import annotations

import io
import time
from pathlib import Path

import pytest

from algodock_common import crowding
from algodock_common.crowding import LONGEST_PAUSE_S_PER_BYTE, Pace, waited_us
from algodock_common.storage.paced_file import PacedFile

MIB = 2**20


class Machine:
    """A clock and the kernel's file, moved by hand."""

    def __init__(self, file: Path) -> None:
        self.file, self.now, self.waited = file, 100.0, 5_000_000
        self.passes(0, 0)

    def passes(self, seconds: float, share: float) -> None:
        """Let time pass in which a program waited for ``share`` of it."""
        self.now += seconds
        self.waited += round(seconds * share * 1e6)
        some = f"some avg10=0.00 avg60=0.00 avg300=0.00 total={self.waited}"
        self.file.write_text(f"{some}\nfull avg10=0.00 avg60=0.00 avg300=0.00 total=7\n")


@pytest.fixture
def machine(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Machine:
    made = Machine(tmp_path / "cpu")
    monkeypatch.setattr(time, "monotonic", lambda: made.now)
    return made


def test_a_pause_is_as_long_as_others_waited_since_the_last_question(machine: Machine) -> None:
    pace = Pace(machine.file)
    for share in (0.0, 0.1, 0.5, 1.0):
        machine.passes(0.02, share)
        assert pace.pause_s(MIB) == pytest.approx(share * MIB * LONGEST_PAUSE_S_PER_BYTE)
    machine.passes(10, 1.3)
    assert pace.pause_s(5 * MIB) == pytest.approx(5 * MIB * LONGEST_PAUSE_S_PER_BYTE), "a bounded one, in any case"
    assert pace.pause_s(MIB) == 0, "no time has passed"
    machine.passes(1, -2)
    assert pace.pause_s(MIB) == 0, "a count that went back, as after a move to another machine"


@pytest.mark.parametrize("text", ["", "some avg10=0.00", "some total=", "some total=many\n", None])
def test_without_the_kernels_word_nobody_pauses(tmp_path: Path, text: str | None) -> None:
    file = tmp_path / "cpu"
    if text is not None:
        file.write_text(text)
    assert waited_us(file) is None
    assert Pace(file).pause_s(MIB) == 0


def test_a_word_that_comes_or_goes_is_no_error(machine: Machine) -> None:
    pace = Pace(machine.file)
    machine.file.unlink()
    assert pace.pause_s(MIB) == 0
    late = Pace(machine.file)
    machine.passes(1, 1)
    assert late.pause_s(MIB) == 0


@pytest.mark.skipif(not crowding.PRESSURE.exists(), reason="this kernel does not count who waits for a core")
def test_the_kernels_own_words_are_understood() -> None:
    first = waited_us()
    assert first is not None
    assert first > 0


def test_a_file_is_read_whole_and_with_the_pauses_of_its_pace(monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[int] = []
    slept: list[float] = []

    def pause_s(_: Pace, size: int) -> float:
        asked.append(size)
        return size / 100

    monkeypatch.setattr(Pace, "pause_s", pause_s)
    monkeypatch.setattr(time, "sleep", slept.append)
    file = PacedFile(io.BytesIO(b"abcde"))
    assert [file.read(3), file.read(3), file.read()] == [b"abc", b"de", b""]
    assert (asked, slept) == ([3, 2, 0], [0.03, 0.02, 0])
