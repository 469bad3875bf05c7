"""Tests run side by side, one process a core, and those of a file in one of them: they share what the file starts."""

from __future__ import annotations

import re
import subprocess
import sys
from collections import defaultdict
from pathlib import Path

from algodock_cli.stack.verbs.test import SIDE_BY_SIDE

PROJECT = Path(__file__).resolve().parents[3]
FILES = ("tests/unit/cli/test_ports.py", "tests/unit/common/test_scheduling.py")


def test_the_tests_of_a_file_stay_in_one_process() -> None:
    how = ("-c", "pyproject.toml", "--rootdir", ".", "-n", "2", *SIDE_BY_SIDE, "-v")
    command = [sys.executable, "-P", "-m", "pytest", *how, *FILES]
    told = subprocess.run(command, cwd=PROJECT, capture_output=True, text=True, check=False).stdout
    processes = defaultdict(set)
    for process, file in re.findall(r"\[(gw\d)\].*PASSED (\S+?)::", told):
        processes[file].add(process)
    assert {file: len(found) for file, found in processes.items()} == dict.fromkeys(FILES, 1), told
