"""The peer: Celery with late acknowledgement on Redis, and a task that does nothing."""

from __future__ import annotations

import os

from celery import Celery

app = Celery("peer", broker=f"{os.environ['PEER_REDIS']}/0", backend=f"{os.environ['PEER_REDIS']}/1")
app.conf.update(task_acks_late=True, broker_connection_retry_on_startup=True)


@app.task(name="noop")
def noop(body: dict[str, int]) -> dict[str, bool]:
    """Do nothing."""
    return {"ok": bool(body)}
