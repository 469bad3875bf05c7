"""What programs wrote: found from the end, by text, stream and time, over rotated files and earlier releases."""

from __future__ import annotations

import os
import time
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING

import pytest

from algodock_common.errors import InvalidInput
from algodock_deployer.clients import log_search, log_times
from algodock_deployer.clients.log_search import programs_of, search_logs
from algodock_deployer.clients.log_times import LogTimes, marks_file, times_of
from algodock_deployer.domain.logs import Wanted

if TYPE_CHECKING:
    from pathlib import Path

PROGRAM, OLDER = "ai-ocr-0-00000000000a", "ai-ocr-0-00000000000b"
NOON = datetime(2026, 1, 1, 12, tzinfo=UTC)


def at(minutes: float) -> datetime:
    return NOON + timedelta(minutes=minutes)


def write(folder: Path, name: str, *lines: tuple[float, str]) -> None:
    """Write lines, each marked as there at its minute."""
    path = folder / name
    log = folder / (name.partition(".log")[0] + ".log")
    size, marks = 0, []
    path.write_text("".join(f"{text}\n" for _, text in lines))
    for minute, text in lines:
        size += len(text.encode()) + 1
        marks.append(f"{int(at(minute).timestamp() * 1000)} {path.stat().st_ino} {size}\n")
    with marks_file(log).open("a") as file:
        file.writelines(marks)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    write(tmp_path, f"{PROGRAM}.log.1", (0, "loaded Model A"), (1, "ready"))
    write(tmp_path, f"{PROGRAM}.log", (3, "request 1"), (5, "request 2"))
    write(tmp_path, f"{PROGRAM}_error.log", (4, "Traceback: no model"))
    write(tmp_path, f"{OLDER}.log", (-9, "old model"))
    return tmp_path


def found(folder: Path, wanted: Wanted) -> list[str]:
    return [line.text for line in search_logs(folder, [PROGRAM, OLDER], wanted).lines]


def test_both_streams_are_one_in_the_order_of_their_times_or_apart(folder: Path) -> None:
    assert found(folder, Wanted(3)) == ["request 1", "Traceback: no model", "request 2"]
    assert found(folder, Wanted(9, "stderr")) == ["Traceback: no model"]
    assert found(folder, Wanted(2, "stdout")) == ["request 1", "request 2"]
    assert found(folder, Wanted(0)) == []


def test_a_search_finds_text_whatever_its_case_in_rotated_files_and_earlier_releases(folder: Path) -> None:
    assert found(folder, Wanted(9, search="MODEL")) == ["old model", "loaded Model A", "Traceback: no model"]
    assert found(folder, Wanted(1, search="model")) == ["Traceback: no model"]
    assert found(folder, Wanted(9, search="nothing like it")) == []


def test_a_search_by_time_takes_what_was_written_in_between(folder: Path) -> None:
    assert found(folder, Wanted(9, since=at(1), until=at(4))) == ["ready", "request 1", "Traceback: no model"]
    assert found(folder, Wanted(9, since=at(4.5))) == ["request 2"]
    assert found(folder, Wanted(9, until=at(-1))) == ["old model"]
    lines = search_logs(folder, [PROGRAM], Wanted(1)).lines
    assert (lines[0].at, lines[0].stream, lines[0].program) == (at(5), "stdout", PROGRAM)


def test_a_time_that_ends_before_it_begins_is_refused() -> None:
    with pytest.raises(InvalidInput, match="before"):
        Wanted(since=at(1), until=at(0))


def test_a_services_programs_are_its_own_alone(folder: Path) -> None:
    for other in ("ai-ocr-2-0-00000000000c", "ai-ocr-zh-0-00000000000d"):
        (folder / f"{other}.log").touch()
    os.utime(folder / f"{OLDER}.log", (1, 1))
    assert programs_of(folder, "ocr") == [PROGRAM, OLDER]
    assert programs_of(folder, "ocr-2") == ["ai-ocr-2-0-00000000000c"]


def test_lines_are_whole_wherever_a_block_ends_and_whatever_bytes_they_have(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(log_search, "BLOCK", 7)
    (tmp_path / f"{PROGRAM}.log").write_bytes("a\r\n\nlonger than a block 你好\n".encode() + b"\xff half\nunfinished")
    assert found(tmp_path, Wanted(9)) == ["a", "", "longer than a block 你好", "\ufffd half", "unfinished"]


def test_a_question_that_would_read_too_much_is_answered_in_part_and_says_so(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(log_search, "BUDGET", 10)
    assert not search_logs(folder, [PROGRAM, OLDER], Wanted(9, search="model")).complete
    monkeypatch.undo()
    assert search_logs(folder, [PROGRAM, OLDER], Wanted(9, search="model")).complete


def test_times_come_from_looks_at_growing_files_and_stay_true_when_these_rotate(tmp_path: Path) -> None:
    log, looks = tmp_path / f"{PROGRAM}.log", LogTimes(tmp_path)
    log.write_text("one\n")
    looks.look()
    seen = datetime.now(UTC)
    with log.open("a") as file:
        file.write("two\n")
    log.rename(tmp_path / f"{log.name}.1")
    log.write_text("three\n")
    looks.look()
    looks.look()  # nothing new: nothing noted
    assert len(marks_file(log).read_text().splitlines()) == 3
    times = times_of(log, tmp_path / f"{log.name}.1")
    first, second = times.of(4), times.of(8)
    assert first is not None
    assert second is not None
    assert first <= seen
    assert seen - timedelta(milliseconds=1) <= second <= datetime.now(UTC)
    assert found(tmp_path, Wanted(9)) == ["one", "two", "three"]


def test_a_file_that_was_emptied_and_marks_that_were_cut_do_no_harm(tmp_path: Path) -> None:
    log, looks = tmp_path / f"{PROGRAM}.log", LogTimes(tmp_path)
    log.write_text("much before\n")
    looks.look()
    os.truncate(log, 0)
    looks.look()
    with log.open("a") as file:
        file.write("new\n")
    before = datetime.now(UTC) - timedelta(milliseconds=2)
    looks.look()
    with marks_file(log).open("a") as file:
        file.write("17")
    when = times_of(log, log).of(4)
    assert when is not None
    assert when >= before


def test_marks_do_not_grow_without_end(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(log_times, "LONGEST", 400)
    log, looks = tmp_path / f"{PROGRAM}.log", LogTimes(tmp_path)
    for number in range(100):
        with log.open("a") as file:
            file.write(f"{number}\n")
        looks.look()
    assert marks_file(log).stat().st_size <= 440
    assert found(tmp_path, Wanted(1, since=datetime.fromtimestamp(time.time() - 60, UTC))) == ["99"]
