"""A task by REST, one at a time: from the submission until its result can be read."""

from __future__ import annotations

import json
import statistics
import time
import uuid
from dataclasses import dataclass
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

from wire import Answer, Connection, request_bytes

if TYPE_CHECKING:
    from stage import Platform

__all__ = ["TaskTimes", "task_times"]

_WARM_UP = 10


@dataclass(frozen=True, slots=True)
class TaskTimes:
    """Milliseconds from submission: to the answer 202, to the word that it succeeded, to the result's last byte."""

    accepted_p50_ms: float
    finished_p50_ms: float
    finished_p99_ms: float
    result_p50_ms: float
    result_p95_ms: float


class _Client:
    """One connection to the gateway, and one to wherever results lie."""

    def __init__(self, platform: Platform) -> None:
        self._platform = platform
        self._connections: dict[str, Connection] = {}

    def call(self, method: str, url: str, body: object = None) -> Answer:
        content = b"" if body is None else json.dumps(body).encode()
        headers = self._platform.headers if url.startswith(self._platform.url) else {}
        host = urlsplit(url).netloc
        connection = self._connections.setdefault(host, Connection(url))
        answer = connection.send(request_bytes(method, url, headers=headers, body=content))
        return self.call("GET", answer.headers["location"]) if answer.status in {302, 303, 307, 308} else answer

    def close(self) -> None:
        for connection in self._connections.values():
            connection.close()


def task_times(platform: Platform, algorithm: str, count: int) -> TaskTimes:
    """Submit ``count`` tasks, each after the one before is read.

    Raises:
        RuntimeError: one did not succeed.
    """
    tasks = f"{platform.url}/api/v1/tasks"
    times: list[tuple[float, float, float]] = []
    client = _Client(platform)
    try:
        for number in range(_WARM_UP + count):
            body = {"algorithm": algorithm, "input": {"n": number}, "idempotency_key": uuid.uuid4().hex}
            begun = time.perf_counter()
            made = client.call("POST", tasks, body).json()
            accepted = time.perf_counter()
            task = client.call("GET", f"{tasks}/{made['id']}?wait=30").json()
            finished = time.perf_counter()
            result = client.call("GET", f"{tasks}/{made['id']}/result")
            read = time.perf_counter()
            if task["state"] != "succeeded" or result.json()["got"] != {"n": number}:
                raise RuntimeError(f"task {task} with result {result.status} {result.body[:200]!r}")
            if number >= _WARM_UP:
                times.append(((accepted - begun) * 1000, (finished - begun) * 1000, (read - begun) * 1000))
    finally:
        client.close()
    accepted_ms, finished_ms, read_ms = zip(*times, strict=True)
    return TaskTimes(
        statistics.median(accepted_ms),
        statistics.median(finished_ms),
        statistics.quantiles(finished_ms, n=100)[98],
        statistics.median(read_ms),
        statistics.quantiles(read_ms, n=20)[18],
    )
