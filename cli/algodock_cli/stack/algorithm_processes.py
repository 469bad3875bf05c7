"""Ends the algorithms with the platform: they live under a supervisord that the deployer started, and outlive that."""

from __future__ import annotations

import os
import signal
from pathlib import Path

import psutil

from algodock_cli.stack.data_folder import DataFolder

__all__ = ["end_all"]

_STOP_S = 30.0
_LEFTOVER_S = 3.0


def end_all(folder: DataFolder) -> bool:
    """Stop the algorithms' supervisord and whatever an earlier one left; return whether anything ran."""
    supervisord = _supervisord(folder.algorithms)
    if supervisord is not None:
        supervisord.send_signal(signal.SIGTERM)
        psutil.wait_procs([supervisord], timeout=_STOP_S)
    left = _left_in(folder)
    ran = supervisord is not None or bool(left)
    for number in (signal.SIGTERM, signal.SIGKILL):
        for process in left:
            _signal(process, number)
        psutil.wait_procs(left, timeout=_LEFTOVER_S)
        left = [process for process in left if process.is_running()]
    return ran


def _supervisord(folder: Path) -> psutil.Process | None:
    """Return the supervisord whose pid file lies in the folder, if that pid is one and is of this folder."""
    try:
        process = psutil.Process(int((folder / "supervisord.pid").read_text(encoding="ascii")))
        command = process.cmdline()
    except (OSError, ValueError, psutil.Error):
        return None
    ours = any(str(folder) in word for word in command)
    return process if ours and any("supervisord" in word for word in command) else None


def _left_in(folder: DataFolder) -> list[psutil.Process]:
    """Return processes that work inside the algorithms' folders; a person's shell there (on a terminal) is none."""
    roots = (folder.services_root, folder.algorithms)
    found = []
    for process in psutil.process_iter():
        try:
            where = Path(process.cwd())
            inside = any(where.is_relative_to(root) for root in roots)
            if inside and process.pid != os.getpid() and process.terminal() is None:
                found.append(process)
        except (psutil.Error, OSError):
            continue  # gone meanwhile, or somebody else's
    return found


def _signal(process: psutil.Process, number: signal.Signals) -> None:
    try:
        process.send_signal(number)
    except psutil.NoSuchProcess:
        return
