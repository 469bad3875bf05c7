"""What a program wrote last: the error, and the lines around it."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from algodock_deployer.clients.files import tail

if TYPE_CHECKING:
    from algodock_deployer.domain.releases import Instance
    from algodock_deployer.handlers.context import Context

__all__ = ["last_words"]

LAST_LINES = 8
_ERROR = re.compile(r"^(?:[\w.]+\.)?\w*(?:Error|Exception|Interrupt|Exit|Warning)\b.*")


def last_words(context: Context, instance: Instance) -> str:
    """Return the error that a program wrote last and the lines around it; stdout when stderr is empty."""
    for stream in ("stderr", "stdout"):
        lines = [line for line in tail(context.folders.program_log(instance.program, stream), 40) if line.strip()]
        if lines:
            error = next((line for line in reversed(lines) if _ERROR.match(line)), lines[-1])
            around = [
                line for line in lines[-LAST_LINES:] if line != error and "<frozen " not in line and "^^^" not in line
            ]
            return "\n".join([error.strip(), *around])
    return ""
