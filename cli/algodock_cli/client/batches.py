"""One command to many services: given once, followed to its end, told one by one."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any

from algodock_cli.client.errors import NotInTime
from algodock_cli.client.options import table
from algodock_cli.failures import CommandFailed

if TYPE_CHECKING:
    from algodock_cli.client.gateway import Gateway

__all__ = ["begin", "judge", "show", "wait_for"]

Batch = dict[str, Any]
_LONGEST_POLL_S = 30


def begin(platform: Gateway, action: str, *, names: list[str] | None, group: str | None) -> Batch:
    """Give the command to services by name, to a group, or, without either, to all."""
    body: dict[str, Any] = {"services": names} if names else {"group": group} if group is not None else {"all": True}
    answer: Batch = platform.post("/api/v1/services/batch", {"action": action, **body})
    return answer


def wait_for(platform: Gateway, batch: Batch, timeout_s: float) -> Batch:
    """Return the batch when every service has answered for itself, by long polls.

    Raises:
        NotInTime: some have not within ``timeout_s``; the message names them.
    """
    end = time.monotonic() + timeout_s
    while batch["state"] == "running":
        left = max(0.0, end - time.monotonic())
        batch = platform.get(f"/api/v1/services/batches/{batch['batch_id']}", wait=round(min(left, _LONGEST_POLL_S), 1))
        if batch["state"] == "running" and time.monotonic() >= end:
            waiting = [one["name"] for one in batch["results"] if one["state"] in {"accepted", "running"}]
            raise NotInTime(
                f"{batch['action']} has not ended for {', '.join(waiting[:10])}"
                f"{' and others' if len(waiting) > len(waiting[:10]) else ''} after {timeout_s:.0f} s"
            )
    return batch


def show(batch: Batch) -> None:
    """Print a line a service."""
    rows = [(one["name"], one["state"], _first_line(one["reason"])) for one in batch["results"]]
    table(("NAME", batch["action"].upper(), "WHY"), rows)


def judge(batch: Batch) -> None:
    """Let the batch's end be the command's.

    Raises:
        CommandFailed: it failed, or was refused, for some.
    """
    if not batch["success"]:
        whole = len(batch["results"])
        raise CommandFailed(
            f"{batch['action']} failed for {batch['failed']} of {whole}; `algodock logs NAME` says more"
        )


def _first_line(text: str) -> str:
    return text.strip().partition("\n")[0][:100]
