"""A whole platform, started and ended by the command, reached by HTTP, git and Kafka only."""

from __future__ import annotations

import asyncio
import contextlib
import json
import operator
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar
from urllib.parse import urlsplit
from uuid import uuid4

import httpx
import psutil
import pytest

from algodock_cli.stack.ports import release_block
from tests.outside.repository import Repository

__all__ = ["ENVIRONMENT", "Platform", "algodock", "eventually", "running_platform"]

PROJECT = Path(__file__).resolve().parent.parent.parent
ENVIRONMENT = dict(os.environ)
"""As the test run was given it: fixtures put servers of their own into ``os.environ`` later."""
TERMINAL = frozenset({"succeeded", "failed", "cancelled", "expired"})
Found = TypeVar("Found")


def eventually(
    look: Callable[[], Found], seconds: float = 120, every: float = 0.05, *, accept: Callable[[Found], bool] = bool
) -> Found:
    """Return the first answer of ``look`` that is accepted; fail with the last one when there is none in time.

    A connection that breaks is no answer: services are killed while tests look.
    """
    end, seen = time.monotonic() + seconds, None
    while time.monotonic() < end:
        with contextlib.suppress(httpx.TransportError):
            seen = look()
            if accept(seen):
                return seen
        time.sleep(every)
    pytest.fail(f"not within {seconds} s; last seen: {seen!r}")


@dataclass(frozen=True)
class Platform:
    """A running platform: where it is, the key to it, and where its traces go."""

    url: str
    api_key: str
    callback_secret: str
    kafka: str
    traces: Path
    environment: dict[str, str]

    @contextmanager
    def api(self) -> Iterator[httpx.Client]:
        """Give a client of its own, so that threads do not share one."""
        with httpx.Client(
            base_url=self.url, headers={"authorization": f"Bearer {self.api_key}"}, timeout=70, trust_env=False
        ) as client:
            yield client

    def call(self, method: str, path: str, **options: Any) -> httpx.Response:
        """Make one call."""
        with self.api() as client:
            return client.request(method, path, **options)

    def repository(self, folder: Path, prefix: str) -> Repository:
        """Make an algorithm with a new name and a working copy of its repository."""
        name = f"{prefix}-{uuid4().hex[:6]}"
        made = self.call("POST", "/api/v1/algorithms", json={"name": name})
        assert made.status_code == 201, made.text
        return Repository(name, folder / name, made.json()["clone_url"], self.api_key)

    def predict(self, name: str, body: object) -> httpx.Response:
        """Call an algorithm."""
        return self.call("POST", f"/ai/{name}/predict", json=body)

    def release_of(self, name: str, commit: str) -> dict[str, Any] | None:
        """Return the release that a commit became, None as long as there is none."""
        answer = self.call("GET", f"/api/v1/services/releases/{name}")
        releases: list[dict[str, Any]] = answer.json()["releases"] if answer.status_code == 200 else []
        return next((one for one in releases if one["commit"] == commit), None)

    def until_live(self, name: str, commit: str) -> dict[str, Any]:
        """Wait until a commit's release is live and return it; fail at once, with its reason, when it has failed.

        A push says what becomes of it, but waits for a minute only, and routers hear of it a moment later:
        what is to be called next is waited for with ``answered`` or ``serves``.
        """

        def look() -> dict[str, Any] | None:
            release = self.release_of(name, commit)
            assert release is None or release["state"] != "failed", release
            return release if release is not None and release["state"] == "live" else None

        release = eventually(look, 180)
        assert release is not None
        return release

    def answered(self, name: str, body: object) -> httpx.Response:
        """Call an algorithm until it answers with 200; return that answer."""
        return eventually(lambda: self.predict(name, body), accept=lambda answer: answer.status_code == 200)

    def serves(self, name: str, version: str) -> None:
        """Wait until calls of an echo are answered by this version."""

        def look() -> str:
            answer = self.predict(name, {})
            return str(answer.json()["version"]) if answer.status_code == 200 else answer.text[:300]

        eventually(look, 180, accept=lambda seen: seen == version)

    def service(self, name: str) -> dict[str, Any]:
        """Return a service as the list of services has it."""
        services: list[dict[str, Any]] = self.call("GET", "/api/v1/services").json()["services"]
        return next(one for one in services if one["name"] == name)

    def finished(self, task_id: str, seconds: float = 120) -> dict[str, Any]:
        """Wait until a task is over and return it."""

        def look() -> dict[str, Any] | None:
            answer = self.call("GET", f"/api/v1/tasks/{task_id}", params={"wait": 5})
            task: dict[str, Any] = answer.json()
            return task if answer.status_code == 200 and task["state"] in TERMINAL else None

        found = eventually(look, seconds)
        assert found is not None
        return found

    def result(self, task_id: str) -> httpx.Response:
        """Read a task's result, wherever it lies."""
        with self.api() as client:
            return client.get(f"/api/v1/tasks/{task_id}/result", follow_redirects=True)

    def pid(self, program: str) -> int:
        """Return the process of a service, worker or server."""

        def look() -> int:  # none while it is being started again
            pid: int = next(one["pid"] for one in self.programs() if one["name"] == program)
            return pid

        return eventually(look)

    def programs(self) -> list[dict[str, Any]]:
        """Return every program as ``status`` tells it."""
        programs: list[dict[str, Any]] = json.loads(algodock(self.environment, "status", "--json", check=False))[
            "programs"
        ]
        return programs

    def unready(self) -> dict[str, str]:
        """Return what each program that is not ready says of it."""
        return {one["name"]: f"{one['state']}: {one['said']}" for one in self.programs() if not one["ready"]}

    def until_ready(self, seconds: float = 120) -> None:
        """Wait until every program is ready; fail with what the others say."""
        eventually(self.unready, seconds, accept=operator.not_)

    def instance_pid(self, name: str) -> int:
        """Return the process that listens on the service's port, when there is one."""

        def look() -> int | None:
            port = self.service(name)["port"]
            for connection in psutil.net_connections("tcp"):
                listens = connection.status == psutil.CONN_LISTEN and connection.laddr
                if listens and listens.port == port and connection.pid:
                    return connection.pid
            return None

        pid = eventually(look)
        assert pid is not None
        return pid


def algodock(environment: dict[str, str], *arguments: str, check: bool = True) -> str:
    """Run the command as a person would; return what it printed."""
    command = [sys.executable, "-m", "algodock_cli", *arguments]
    ended = subprocess.run(command, cwd=PROJECT, env=environment, check=check, stdout=subprocess.PIPE, text=True)
    return ended.stdout


@contextmanager
def running_platform(folder: Path, *, workers: int = 1, **settings: str) -> Iterator[Platform]:
    """Start a platform with its data in ``folder``, and end it.

    On servers that the environment names it has a database of its own there.
    """
    traces = folder / "traces"
    environment = ENVIRONMENT | {
        "ALGODOCK_DATA_DIR": str(folder / "data"),
        "OTEL_TRACES_DIR": str(traces),
        "OTEL_SAMPLE_RATIO": "1",
        **settings,
    }
    if environment.get("DATABASE_URL"):
        environment["DATABASE_URL"] = asyncio.run(_new_database(environment["DATABASE_URL"]))
    for path in (folder, *folder.parents):  # algorithms run as another user, and pytest's folders are private
        if Path(tempfile.gettempdir()) in path.parents and path.stat().st_uid == os.geteuid():
            path.chmod(path.stat().st_mode | 0o005)
    try:
        told = json.loads(algodock(environment, "up", "--json", "--workers", str(workers)).strip().splitlines()[-1])
        yield Platform(
            told["url"], told["api_key"], told["callback_secret"], told["kafka"], traces, environment=environment
        )
    finally:
        algodock(environment, "down", check=False)
        release_block(Path(environment["ALGODOCK_DATA_DIR"]))  # pytest keeps the folder, and there are not many blocks


async def _new_database(url: str) -> str:
    import asyncpg

    name = f"outside_{uuid4().hex[:8]}"
    connection = await asyncpg.connect(url)
    try:
        await connection.execute(f'CREATE DATABASE "{name}"')
    finally:
        await connection.close()
    return urlsplit(url)._replace(path=f"/{name}").geturl()
