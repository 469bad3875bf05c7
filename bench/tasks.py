"""``./algodock bench tasks``: how fast tasks go, beside Celery on the same machine in the same run.

It starts a platform of its own with two workers and removes it, unless ALGODOCK_URL and
ALGODOCK_API_KEY name one.
"""

from __future__ import annotations

import pathlib
import statistics
import sys
import tempfile
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any

import growth
import resources
from celery_run import celery_tasks_per_s
from one_task import task_times
from pushing import Echo
from report import Goals, options, report, say
from stage import Platform, platform
from submitting import in_batches, one_by_one
from wire import Connection, request_bytes

GOALS: Goals = {
    "ratio": (">=", 1.0),
    "latency_p50_ms": ("<=", 20.0),
    "latency_p99_ms": ("<=", 60.0),
    "submit_batch_per_s": (">=", 1500.0),
    "submit_single_per_s": (">=", 600.0),
    "objects_per_s": (">=", 700.0),
    "objects_behind_s": ("<=", 10.0),
    "growth_ratio": ("<=", 1.2),
    "memory_ratio": ("<=", 1.05),
}
WORKERS = 2
BATCH = 500
READERS = 8
LOOK_EVERY_S = 0.1
"""Between two looks whether all has ended; the peer's client looks as often, and each look costs the cores of both."""
LONGEST_S = 300.0
WAITING = ("queued", "running", "accepted")


def _measure(stage: Platform, scale: float, rounds: int) -> dict[str, Any]:
    figures: dict[str, Any] = {}
    with tempfile.TemporaryDirectory(prefix="algodock-bench-echo-") as folder:
        echo = Echo(stage, pathlib.Path(folder))
        try:
            say("pushes the echo that the tasks call")
            echo.push()
            figures |= _latency(stage, echo.name, max(50, round(500 * scale)))
            figures |= _throughput(stage, echo.name, max(500, round(5000 * scale)), rounds)
            figures |= _growth(stage, echo.name, scale)
        finally:
            echo.remove()
    figures |= _submissions(stage, scale)
    return {name: round(value, 4) if isinstance(value, float) else value for name, value in figures.items()}


def _latency(stage: Platform, algorithm: str, count: int) -> dict[str, Any]:
    say(f"{count} tasks one after the other, each by long poll")
    times = task_times(stage, algorithm, count)
    return {
        "latency_p50_ms": times.finished_p50_ms,
        "latency_p99_ms": times.finished_p99_ms,
        "latency_result_p50_ms": times.result_p50_ms,
        "latency_accepted_p50_ms": times.accepted_p50_ms,
    }


def _throughput(stage: Platform, algorithm: str, count: int, rounds: int) -> dict[str, Any]:
    """Return the medians of as many rounds: ours, then the peer's, in turns."""
    ours, peers, with_tasks, objects, behind = [], [], [], [], []
    for number in range(rounds):
        say(f"round {number + 1}: {count} tasks by one client, here")
        run = _run_tasks(stage, algorithm, count)
        ours.append(run.tasks_per_s)
        with_tasks.append(run.objects_with_tasks_per_s)
        objects.append(run.objects_per_s)
        behind.append(growth.longest_behind_s(growth.database_url(stage), count))
        say(f"round {number + 1}: the same by Celery")
        peers.append(celery_tasks_per_s(count))
    return {
        "tasks_per_s": statistics.median(ours),
        "celery_tasks_per_s": statistics.median(peers),
        "ratio": statistics.median(mine / theirs for mine, theirs in zip(ours, peers, strict=True)),
        "objects_per_s": statistics.median(objects),
        "objects_with_tasks_per_s": statistics.median(with_tasks),
        "objects_behind_s": max(behind),
    }


@dataclass(frozen=True, slots=True)
class Run:
    """Rates: of tasks until the last has ended, of the objects owed then, of all objects from the first submission."""

    tasks_per_s: float
    objects_per_s: float
    objects_with_tasks_per_s: float


def _run_tasks(stage: Platform, algorithm: str, count: int) -> Run:
    """Submit no-op tasks, wait until all have ended and all their objects are written, and read every result."""
    with Connection(stage.url) as connection, growth.Owed(growth.database_url(stage)) as debts:
        began = time.perf_counter()
        ids, _ = in_batches(stage, algorithm, count, batch=BATCH, connections=1)
        _until(lambda: not any(_some(stage, connection, algorithm, state) for state in WAITING))
        ended = time.perf_counter()
        owed, counted = debts.count(), time.perf_counter()
        _until(lambda: debts.count() == 0)
        landed = time.perf_counter()
    _read_all(stage, ids)
    with_tasks = count / (landed - began)
    # None is owed when the last task ends: they landed as fast as the tasks ended.
    return Run(count / (ended - began), owed / (landed - counted) if owed else with_tasks, with_tasks)


def _some(stage: Platform, connection: Connection, algorithm: str, state: str) -> bool:
    path = f"/api/v1/tasks?algorithm={algorithm}&state={state}&limit=1"
    return bool(connection.send(request_bytes("GET", stage.url, path=path, headers=stage.headers)).json()["tasks"])


def _until(done: Any) -> None:
    end = time.perf_counter() + LONGEST_S
    while not done():
        if time.perf_counter() > end:
            raise RuntimeError(f"not done after {LONGEST_S:.0f} s")
        time.sleep(LOOK_EVERY_S)


def _read_all(stage: Platform, ids: list[str]) -> None:
    """Read every result.

    Raises:
        RuntimeError: one cannot be read.
    """

    def read(some: list[str]) -> None:
        with Connection(stage.url) as connection:
            for task_id in some:
                path = f"/api/v1/tasks/{task_id}/result"
                answer = connection.send(request_bytes("GET", stage.url, path=path, headers=stage.headers))
                if answer.status not in {200, 307}:
                    raise RuntimeError(f"the result of {task_id}: {answer.status} {answer.body[:200]!r}")

    with ThreadPoolExecutor(READERS) as pool:
        list(pool.map(read, [ids[at::READERS] for at in range(READERS)]))


def _growth(stage: Platform, algorithm: str, scale: float) -> dict[str, Any]:
    """Return what a task costs in CPU with many finished rows, over that with few."""
    count = max(500, round(3000 * scale))
    costs: dict[int, float] = {}
    for rows in (10_000, 1_000_000):
        say(f"{rows} finished rows")
        growth.fill(stage, rows - 10_000 if costs else rows)
        growth.settle(stage)
        before = growth.cpu_s(stage)
        _run_tasks(stage, algorithm, count)
        costs[rows] = (growth.cpu_s(stage) - before) / count * 1000
    small, large = costs.values()
    return {"growth_ratio": large / small, "cpu_ms_per_task": small}


def _submissions(stage: Platform, scale: float) -> dict[str, Any]:
    """Return the rates of submissions to an algorithm that nobody runs, and what its queue costs in memory."""
    name = f"bench-queue-{int(time.time())}"
    stage.call("POST", "/api/v1/algorithms", {"name": name})
    say("submissions alone: one by one, then in batches")
    alone = max(500, round(5000 * scale))
    single = one_by_one(stage, name, alone, connections=8)
    few = max(1000, round(10_000 * scale))
    _, rate = in_batches(stage, name, few - alone, batch=1000, connections=2)
    growth.settle(stage)
    small = _memory_mb(stage)
    say("a queue ten times as long")
    in_batches(stage, name, 9 * few, batch=1000, connections=2)
    growth.settle(stage)
    large = _memory_mb(stage)
    return {
        "submit_single_per_s": single,
        "submit_batch_per_s": rate,
        "memory_queued_mb": small,
        "memory_queued_tenfold_mb": large,
        "memory_ratio": large / small,
    }


def _memory_mb(stage: Platform) -> float:
    """Return the memory of our processes and PostgreSQL; a broker or a store may keep in memory what it likes."""
    memory = resources.memory(stage.programs())
    return memory.services_mb + memory.each.get("postgres", 0.0)


def main() -> int:
    """Measure and print; exits 1 with ``--check`` when a figure misses its goal."""
    parser = options("tasks", __doc__)
    parser.add_argument("--real", action="store_true", help="on Apache Kafka, MinIO, PostgreSQL and Redis of its own")
    parser.add_argument("--rounds", type=int, default=3, help="rounds of throughput, each beside Celery (default 3)")
    wanted = parser.parse_args()
    with platform(workers=WORKERS, real=wanted.real) as stage:
        figures = _measure(stage, wanted.scale, wanted.rounds)
    return report(figures, GOALS, wanted)


if __name__ == "__main__":
    sys.exit(main())
