"""Ends the algorithms with the platform: the deployer started them, or a supervisord for them, and they outlive it."""

from __future__ import annotations

import os
import signal
from collections.abc import Iterator
from pathlib import Path

import psutil

__all__ = ["end_all"]

_PID_FOLDERS = ("run", "local", "edge")
_STOP_S = 30.0
_LEFTOVER_S = 3.0


def end_all(folder: Path, services_root: Path) -> bool:
    """Stop the algorithms' supervisord and whatever an earlier one left; return whether anything ran.

    Args:
        folder: where the deployer keeps that supervisord's files, and the algorithms' pid files: in ``run``, in
            ``local`` those of algorithms that run without supervisord, and in ``edge`` that of the nginx in front.
        services_root: below it the algorithms, and their builds, work.
    """
    supervisord = _supervisord(folder)
    if supervisord is not None:
        supervisord.terminate()
        psutil.wait_procs([supervisord], timeout=_STOP_S)
    left = list({process.pid: process for process in _left_over(folder, services_root)}.values())
    ran = supervisord is not None or bool(left)
    for number in (signal.SIGTERM, signal.SIGKILL):
        for process in left:
            _signal(process, number)
        _, left = psutil.wait_procs(left, timeout=_LEFTOVER_S)
    return ran


def _supervisord(folder: Path) -> psutil.Process | None:
    """Return the supervisord whose pid file lies in the folder, if that pid is one and is of this folder."""
    try:
        process = psutil.Process(int((folder / "supervisord.pid").read_text(encoding="ascii")))
        command = " ".join(process.cmdline())
    except (OSError, ValueError, psutil.Error):
        return None
    return process if "supervisord" in command and str(folder) in command else None


def _left_over(folder: Path, services_root: Path) -> Iterator[psutil.Process]:
    """Yield what a killed supervisord left: processes that a pid file names, and those that work in their folders.

    A pid that was given to somebody else since the file was written is none, nor is a person's shell
    (one on a terminal) that stands in such a folder.
    """
    for file in (pid for kind in _PID_FOLDERS for pid in (folder / kind).glob("*.pid")):
        try:
            process = psutil.Process(int(file.read_text(encoding="ascii")))
            if process.create_time() <= file.stat().st_mtime + 1:
                yield process
        except (OSError, ValueError, psutil.Error):
            continue
    for process in psutil.process_iter():
        try:
            inside = Path(process.cwd()).is_relative_to(services_root)
            if inside and process.pid != os.getpid() and process.terminal() is None:
                yield process
        except (psutil.Error, OSError):
            continue  # gone meanwhile, or somebody else's


def _signal(process: psutil.Process, number: signal.Signals) -> None:
    """Signal the process and, where it leads a group (as under supervisord), all of that."""
    try:
        if os.getpgid(process.pid) == process.pid:
            os.killpg(process.pid, number)
        else:
            process.send_signal(number)
    except (ProcessLookupError, psutil.NoSuchProcess):
        return
