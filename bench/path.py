"""``./algodock bench path``: the figures of the path from a push to an answer.

It starts a platform of its own and removes it, unless ALGODOCK_URL and ALGODOCK_API_KEY name one.
What is compared is measured in one run, turn by turn.
"""

from __future__ import annotations

import argparse
import json
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
from stage import Platform, platform

GOALS: dict[str, tuple[str, float]] = {
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


def _say(text: str) -> None:
    print(f"bench: {text}", file=sys.stderr, flush=True)


def _measure(stage: Platform, scale: float) -> dict[str, Any]:
    figures: dict[str, Any] = {"up_fresh_s": stage.up_fresh_s, "up_warm_s": stage.up_warm_s}
    with tempfile.TemporaryDirectory(prefix="algodock-bench-echo-") as folder:
        echo = Echo(stage, pathlib.Path(folder))
        try:
            _say("first push of the echo: builds its environment")
            figures["first_push_s"] = echo.push()
            figures |= _idle(stage, 20 * scale)
            figures |= _pushes(echo, max(3, round(9 * scale)))
            figures |= _calls(stage, echo, scale)
            _say("tasks by REST, one at a time")
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
        _say("the platform's processes are not on this machine: neither memory nor idle cores")
        return {"rss_services_mb": None, "rss_servers_mb": None, "idle_cores": None}
    _say(f"idle for {seconds:.0f} s")
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
    _say(f"{count} pushes with an unchanged environment")
    took = [echo.push() for _ in range(count)]
    return {
        "push_to_live_p50_s": statistics.median(took),
        "push_to_live_max_s": max(took),
        "push_steps_ms": echo.steps_ms(count),
    }


def _calls(stage: Platform, echo: Echo, scale: float) -> dict[str, Any]:
    direct = load.Target(echo.direct_url(), "/predict", {"content-type": "application/json"})
    gateway = load.Target(stage.url, echo.path, stage.headers)
    _say("calls on one connection, direct and through the gateway in turns")
    one = load.latency(direct, gateway, max(500, round(5000 * scale)))
    _say("calls on 32 connections, direct and through the gateway in turns")
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


def _missed(figures: dict[str, Any]) -> list[str]:
    missed = []
    for name, (relation, goal) in GOALS.items():
        value = figures.get(name)
        if value is not None and not (value <= goal if relation == "<=" else value >= goal):
            missed.append(name)
    return missed


def _table(figures: dict[str, Any]) -> None:
    for name, value in figures.items():
        if isinstance(value, dict):
            print(name, *(f"  {part:32} {number}" for part, number in value.items()), sep="\n")
            continue
        relation, goal = GOALS.get(name, ("", 0))
        print(f"{name:28} {value!s:>12}" + (f"   goal {relation} {goal:g}" if relation else ""))


def main() -> int:
    """Measure and print; exits 1 with ``--check`` when a figure misses its goal."""
    parser = argparse.ArgumentParser(
        prog="algodock bench path", description=__doc__.partition("\n")[0] if __doc__ else ""
    )
    parser.add_argument("--json", action="store_true", help="end with one line of JSON")
    parser.add_argument("--check", action="store_true", help="exit with 1 when a figure misses its goal")
    parser.add_argument("--scale", type=float, default=1.0, help="more or fewer repetitions (default 1)")
    wanted = parser.parse_args()
    with platform() as stage:
        figures = _measure(stage, wanted.scale)
    figures["missed"] = _missed(figures)
    if wanted.json:
        print(json.dumps(figures))
    else:
        _table(figures)
    return 1 if wanted.check and figures["missed"] else 0


if __name__ == "__main__":
    sys.exit(main())
