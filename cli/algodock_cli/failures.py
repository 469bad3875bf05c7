"""What a verb raises when it cannot do what it was asked: one line for the person, one exit code for scripts."""

from __future__ import annotations

__all__ = ["CommandFailed"]


class CommandFailed(Exception):
    """A verb failed for a reason that the person can act on; the message is all that they see.

    ``exit_code``: 1 failed, 2 wrong usage (click's own), 3 not running or not found, 4 something is
    missing on this machine, 5 not ready in time, 6 no free port, 7 busy. Subclasses say which.
    """

    exit_code = 1
