"""Processes that a killed process manager has left: known by their id and by the token that only their instance has."""

from __future__ import annotations

import contextlib
import os
import signal

import psutil

from algodock_deployer.clients.carriers import INSTANCE, end_carriers

__all__ = ["end_orphan", "is_instance"]

GRACE_S = 3.0


def is_instance(pid: int, token: str) -> bool:
    """Return whether process ``pid`` lives and is the one that was given ``token``; its id may be another's by now."""
    try:
        process = psutil.Process(pid)
        carries = bool(token) and process.environ().get(INSTANCE) == token
        return carries and process.status() != psutil.STATUS_ZOMBIE
    except psutil.Error:
        return False


def end_orphan(pid: int, token: str, *, spare: int) -> bool:
    """End process ``pid`` with its group, and whatever else carries ``token`` but for ``spare`` and what is below it.

    Returns:
        Whether it was there, and was the instance's.
    """
    if not is_instance(pid, token):
        return False
    with contextlib.suppress(ProcessLookupError, PermissionError):
        if os.getpgid(pid) == pid:
            os.killpg(pid, signal.SIGTERM)
        else:
            os.kill(pid, signal.SIGTERM)
    with contextlib.suppress(psutil.Error):
        psutil.Process(pid).wait(GRACE_S)
    end_carriers(INSTANCE, token, spare=spare)
    return True
