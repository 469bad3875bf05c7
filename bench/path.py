"""``./algodock bench path``: the figures of the path from a push to an answer.

It starts a platform of its own and removes it, unless ALGODOCK_URL and ALGODOCK_API_KEY name one.
What is compared is measured in one run, turn by turn.
"""

from __future__ import annotations

import pathlib
import statistics
import sys
import tempfile
import time
from typing import Any

import load
import resources
from one_task import task_times
from pushing import Echo
from report import Goals, options, report, say
from stage import Platform, platform

GOALS: Goals = {
    "push_to_live_p50_s": ("<=", 3.0),
    "gateway_overhead_p50_ms": ("<=", 0.4),
    "gateway_throughput_ratio": (">=", 0.6),
    "task_p50_ms": ("<=", 40.0),
    "rss_services_mb": ("<=", 850.0),
    "rss_servers_mb": ("<=", 300.0),
    "idle_cores": ("<=", 0.2),
    "up_warm_s": ("<=", 15.0),
}
SETTLE_S = 15.0
"""Consumers ask the broker eagerly for some seconds after the last event: that is not idle yet."""


def _measure(stage: Platform, scale: float) -> dict[str, Any]:
    figures: dict[str, Any] = {"up_fresh_s": stage.up_fresh_s, "up_warm_s": stage.up_warm_s}
    with tempfile.TemporaryDirectory(prefix="algodock-bench-echo-") as folder:
        echo = Echo(stage, pathlib.Path(folder))
        try:
            say("first push of the echo: builds its environment")
            figures["first_push_s"] = echo.push()
            figures |= _idle(stage, 20 * scale)
            figures |= _pushes(echo, max(3, round(9 * scale)))
            figures |= _calls(stage, echo, scale)
            say("tasks by REST, one at a time")
            times = task_times(stage, echo.name, max(20, round(300 * scale)))
            figures |= {
                "task_p50_ms": times.result_p50_ms,
                "task_p95_ms": times.result_p95_ms,
                "task_accepted_p50_ms": times.accepted_p50_ms,
                "task_finished_p50_ms": times.finished_p50_ms,
            }
        finally:
            echo.remove()
    return {name: round(value, 4) if isinstance(value, float) else value for name, value in figures.items()}


def _idle(stage: Platform, seconds: float) -> dict[str, Any]:
    programs = stage.programs()
    if not programs:
        say("the platform's processes are not on this machine: neither memory nor idle cores")
        return {"rss_services_mb": None, "rss_servers_mb": None, "idle_cores": None}
    say(f"idle for {seconds:.0f} s")
    time.sleep(SETTLE_S)
    cores = resources.idle_cores(programs, seconds)
    memory = resources.memory(programs)
    return {
        "rss_services_mb": memory.services_mb,
        "rss_servers_mb": memory.servers_mb,
        "idle_cores": sum(cores.values()),
        "idle_cores_each": cores,
        "rss_each_mb": memory.each,
    }


def _pushes(echo: Echo, count: int) -> dict[str, Any]:
    say(f"{count} pushes with an unchanged environment")
    took = [echo.push() for _ in range(count)]
    return {
        "push_to_live_p50_s": statistics.median(took),
        "push_to_live_max_s": max(took),
        "push_steps_ms": echo.steps_ms(count),
    }


def _calls(stage: Platform, echo: Echo, scale: float) -> dict[str, Any]:
    direct = load.Target(echo.direct_url(), "/predict", {"content-type": "application/json"})
    gateway = load.Target(stage.url, echo.path, stage.headers)
    say("calls on one connection, direct and through the gateway in turns")
    one = load.latency(direct, gateway, max(500, round(5000 * scale)))
    say("calls on 32 connections, direct and through the gateway in turns")
    many = load.throughput(direct, gateway, connections=32, seconds=3, rounds=max(2, round(5 * scale)))
    return {
        "gateway_overhead_p50_ms": one.overhead_p50_ms,
        "direct_p50_ms": one.direct_p50_ms,
        "gateway_p50_ms": one.gateway_p50_ms,
        "gateway_p99_ms": one.gateway_p99_ms,
        "gateway_throughput_ratio": many.ratio,
        "direct_rps": many.direct_rps,
        "gateway_rps": many.gateway_rps,
        "throughput_client": many.client,
    }


def main() -> int:
    """Measure and print; exits 1 with ``--check`` when a figure misses its goal."""
    wanted = options("path", __doc__).parse_args()
    with platform() as stage:
        figures = _measure(stage, wanted.scale)
    return report(figures, GOALS, wanted)


if __name__ == "__main__":
    sys.exit(main())
