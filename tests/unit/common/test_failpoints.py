"""A failpoint kills who reaches it, once, and only where a test armed it."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

_PROGRAM = "from algodock_common.failpoints import reach; reach('worker.claimed'); print('went on')"


def _run(**environment: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-c", _PROGRAM]
    return subprocess.run(command, env=os.environ | environment, capture_output=True, text=True, check=False)


def test_an_armed_place_kills_the_first_who_reaches_it(tmp_path: Path) -> None:
    (tmp_path / "worker.claimed").touch()
    assert _run(ALGODOCK_FAILPOINTS=str(tmp_path)).returncode == -signal.SIGKILL
    assert _run(ALGODOCK_FAILPOINTS=str(tmp_path)).stdout == "went on\n"


def test_an_armed_place_may_name_somebody_else(tmp_path: Path) -> None:
    with subprocess.Popen([sys.executable, "-c", "import time; time.sleep(600)"]) as other:
        (tmp_path / "worker.claimed").write_text(str(other.pid))
        assert _run(ALGODOCK_FAILPOINTS=str(tmp_path)).stdout == "went on\n"
        assert other.wait(60) == -signal.SIGKILL
    assert not list(tmp_path.iterdir())


def test_other_places_are_nothing(tmp_path: Path) -> None:
    (tmp_path / "worker.committed").touch()
    assert _run(ALGODOCK_FAILPOINTS=str(tmp_path)).stdout == "went on\n"
    assert _run().stdout == "went on\n"
