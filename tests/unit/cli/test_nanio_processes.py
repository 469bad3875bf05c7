"""Processes of the embedded object store end with the first one."""

from __future__ import annotations

import os
import subprocess
import sys

CHILD = """
import os
from algodock_cli.stack.servers.nanio_processes import PARENT, end_with_parent
os.environ[PARENT] = {parent}
end_with_parent()
print("goes on")
"""


def _run(parent: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-c", CHILD.format(parent=parent)]
    return subprocess.run(command, env=os.environ, capture_output=True, text=True, check=False)


def test_one_whose_first_process_has_ended_already_ends() -> None:
    ended = _run("'1'")
    assert (ended.returncode, ended.stdout) == (1, "")


def test_one_whose_first_process_lives_goes_on() -> None:
    assert _run("str(os.getppid())").stdout == "goes on\n"
