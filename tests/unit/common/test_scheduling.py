"""What can wait yields to calls, and what it starts does not inherit that."""

import errno
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from algodock_cli.stack import launch
from algodock_common.scheduling import BACKGROUND_NICE, BUILD_NICE, as_usual, yield_to_calls

AUTOGROUP = Path("/proc/self/autogroup")
PRIORITY = (
    "import os, pathlib; from algodock_common.scheduling import *; yield_to_calls();"
    "own = pathlib.Path('/proc/self/autogroup');"
    "print(os.getpriority(os.PRIO_PROCESS, 0), own.read_text().split()[-1] if own.exists() else 'none')"
)


def _run(code: str) -> list[str]:
    """Run ``code`` as a service is started: the leader of a session."""
    command = [sys.executable, "-c", code]
    return subprocess.run(command, start_new_session=True, check=True, capture_output=True, text=True).stdout.split()


def test_a_service_in_the_background_yields_to_calls() -> None:
    ours = os.getpriority(os.PRIO_PROCESS, 0)
    wanted = max(BACKGROUND_NICE, ours) if os.geteuid() == 0 else ours
    told = str(BACKGROUND_NICE) if AUTOGROUP.exists() else "none"
    assert _run(PRIORITY) == [str(wanted), told]


@pytest.mark.parametrize(
    ("lower", "session", "nice"),
    [
        (yield_to_calls, f"/proc/{os.getpid()}/autogroup", BACKGROUND_NICE),
        (lambda: launch.yield_to_others(5), "/proc/self/autogroup", 5),
    ],
    ids=["a service", "the launcher"],
)
def test_a_session_whose_priority_cannot_be_written_yet_is_tried_again(
    monkeypatch: pytest.MonkeyPatch, lower: Callable[[], None], session: str, nice: int
) -> None:
    written: list[str] = []

    def write(path: Path, text: str, encoding: str) -> int:
        written.append(f"{path} {text} {encoding}")
        if len(written) < 3:
            raise BlockingIOError(errno.EAGAIN, "one in 100 ms")
        return len(text)

    monkeypatch.setattr(os, "setpriority", lambda *_: None)
    monkeypatch.setattr(os, "getsid", lambda _: os.getpid())
    monkeypatch.setattr(Path, "write_text", write)
    lower()
    assert written == [f"{session} {nice} ascii"] * 3


@pytest.mark.skipif(os.geteuid() != 0, reason="only root may raise a priority, and only root's services lower theirs")
def test_what_such_a_service_starts_does_not_yield() -> None:
    with subprocess.Popen(["/bin/sleep", "60"], start_new_session=True, stdout=subprocess.DEVNULL) as program:
        try:
            os.setpriority(os.PRIO_PGRP, program.pid, BUILD_NICE)
            as_usual(program.pid)
            assert os.getpriority(os.PRIO_PROCESS, program.pid) == 0
        finally:
            program.kill()


def test_a_program_that_has_ended_is_no_error() -> None:
    with subprocess.Popen(["/bin/true"], start_new_session=True) as program:
        program.wait()
    as_usual(program.pid)
