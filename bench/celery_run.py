"""The peer beside us: Celery with ``acks_late``, two worker processes, broker and results on a Redis of its own."""

from __future__ import annotations

import json
import os
import pathlib
import subprocess
import sys
import tempfile
from typing import Any

from algodock_cli.stack import EmbeddedServers
from algodock_cli.stack.tools import uv_binary

__all__ = ["celery_tasks_per_s"]

_PEER = pathlib.Path(__file__).resolve().parent / "celery_peer"
_LONGEST_S = 300


def _environment_of_the_peer() -> pathlib.Path:
    """Return the peer's own interpreter, made once under ``.algodock/``."""
    folder = _PEER.parent.parent / ".algodock" / "tools" / "celery-peer"
    python = folder / "bin" / "python"
    if not python.exists():
        subprocess.run([uv_binary(), "venv", "--quiet", "--python", sys.executable, folder], check=True)
    requirements = ["--requirement", str(_PEER / "requirements.txt")]
    subprocess.run([uv_binary(), "pip", "install", "--quiet", "--python", python, *requirements], check=True)
    return python


def celery_tasks_per_s(count: int) -> float:
    """Return how many no-op tasks a second Celery gets through, submitted by one client, results stored.

    Raises:
        RuntimeError: some results never came.
    """
    python = _environment_of_the_peer()
    inherited = {name: value for name, value in os.environ.items() if not name.startswith("PYTHON")}
    with tempfile.TemporaryDirectory(prefix="algodock-bench-peer-") as folder:
        servers = EmbeddedServers(pathlib.Path(folder), {})
        servers.start("redis")
        try:
            url = servers.environment["REDIS_URL"].removesuffix("/0").rstrip("/")
            environment = inherited | {"PEER_REDIS": url, "PYTHONPATH": str(_PEER)}
            command = [str(python), "-m", "celery", "-A", "noop_app", "worker", "-c", "2", "-l", "error"]
            with (pathlib.Path(folder) / "worker.log").open("wb") as log:
                worker = subprocess.Popen(command, env=environment, cwd=folder, stdout=log, stderr=log)
            try:
                ended = subprocess.run(
                    [python, str(_PEER / "client.py"), str(count)],
                    env=environment,
                    check=True,
                    stdout=subprocess.PIPE,
                    text=True,
                    timeout=_LONGEST_S,
                )
            finally:
                worker.terminate()
                worker.wait()
        finally:
            servers.stop()
    told: dict[str, Any] = json.loads(ended.stdout.splitlines()[-1])
    if told["stored"] != count:
        raise RuntimeError(f"only {told['stored']} of {count} results came")
    return float(told["tasks_per_s"])
