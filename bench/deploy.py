"""``./algodock bench deploy``: the figures of deploys: how long, how many calls they cost, and what many services cost.

It starts a platform of its own and removes it, unless ALGODOCK_URL and ALGODOCK_API_KEY name one.
"""

from __future__ import annotations

import pathlib
import statistics
import sys
import tempfile
import time
from typing import Any

import many
import resources
from load import BODY
from paced import Paced
from pushing import Echo
from report import Goals, options, report, say
from stage import Platform, platform
from wire import Connection, request_bytes

GOALS: Goals = {
    "push_to_live_p50_s": ("<=", 2.0),
    "push_to_live_p95_s": ("<=", 3.5),
    "new_environment_s": ("<=", 6.0),
    "failed_requests": ("<=", 0),
    "p99_ratio": ("<=", 3.0),
    "lease_conflicts": ("<=", 0),
    "services_200_p50_ratio": ("<=", 1.1),
    "registry_cpu_share": ("<=", 0.1),
    "status_all_ms": ("<=", 100.0),
    "rollback_s": ("<=", 2.0),
    "largest_other_share": ("<=", 1.0),
}
STARTS = ("start", "probe")
"""The steps in which nothing happens but the algorithm's own start."""
PER_S, CONNECTIONS = 200, 32
MANY = 200


def _measure(stage: Platform, scale: float) -> dict[str, Any]:
    figures: dict[str, Any] = {}
    with tempfile.TemporaryDirectory(prefix="algodock-bench-echo-") as folder:
        echo = Echo(stage, pathlib.Path(folder))
        try:
            say("first push of the echo: builds its environment")
            echo.push()
            figures |= _pushes(echo, max(5, round(20 * scale)))
            figures |= _environments(echo)
            figures |= _rollbacks(echo, max(3, round(7 * scale)))
            figures |= _under_load(stage, echo, max(3, round(50 * scale)), max(5, 30 * scale))
            figures |= _many(stage, echo, scale)
            figures |= _leases(stage)
        finally:
            echo.remove()
    return {name: round(value, 4) if isinstance(value, float) else value for name, value in figures.items()}


def _pushes(echo: Echo, count: int) -> dict[str, Any]:
    say(f"{count} pushes with an unchanged environment")
    pushes = [echo.pushed() for _ in range(count)]
    took = sorted(push.took_s for push in pushes)
    parts = echo.parts_ms(pushes)
    start_ms = sum(parts.get(name, 0) for name in STARTS)
    return {
        "push_to_live_p50_s": statistics.median(took),
        "push_to_live_p95_s": statistics.quantiles(took, n=20, method="inclusive")[18],
        "push_parts_ms": parts,
        "algorithm_start_share": start_ms / sum(parts.values()),
        "largest_other_share": max(ms for name, ms in parts.items() if name not in STARTS) / start_ms,
    }


def _environments(echo: Echo) -> dict[str, Any]:
    say("3 pushes with an environment that was never built, of wheels that the cache has")
    return {"new_environment_s": statistics.median(echo.push_with(extra) for extra in ("idna", "h11", "click"))}


def _rollbacks(echo: Echo, count: int) -> dict[str, Any]:
    say(f"{count} rollbacks to the release before")
    return {"rollback_s": statistics.median(echo.roll_back() for _ in range(count))}


def _under_load(stage: Platform, echo: Echo, deploys: int, rest_s: float) -> dict[str, Any]:
    request = request_bytes("POST", stage.url, path=echo.path, headers=stage.headers, body=BODY)
    say(f"{PER_S} calls a second at rest for {rest_s:.0f} s")
    with Paced(stage.url, request, per_s=PER_S, connections=CONNECTIONS) as rest:
        time.sleep(rest_s)
    say(f"{deploys} deploys one after another under the same load")
    with Paced(stage.url, request, per_s=PER_S, connections=CONNECTIONS) as loaded:
        took = [echo.push() for _ in range(deploys)]
    served = loaded.served
    return {
        "deploys_under_load": deploys,
        "requests_under_load": len(served.took_ms) + served.dropped,
        "failed_requests": served.failed + served.dropped,
        "dropped_requests": served.dropped,
        "p99_rest_ms": rest.served.p99_ms,
        "p99_deploys_ms": served.p99_ms,
        "p99_ratio": served.p99_ms / rest.served.p99_ms,
        "push_to_live_under_load_p50_s": statistics.median(took),
    }


def _many(stage: Platform, echo: Echo, scale: float) -> dict[str, Any]:
    calls = max(300, round(3000 * scale))
    alone_ms = _call_p50_ms(stage, echo, calls)
    say(f"{MANY} registered services")
    with many.registered(stage, MANY):
        time.sleep(12)  # every one of them has been looked at once
        beside_ms = _call_p50_ms(stage, echo, calls)
        status_ms, told = many.status_all_ms(stage)
        programs = [one for one in stage.programs() if one.name == "registry"]
        share = resources.idle_cores(programs, max(10, 30 * scale)).get("registry") if programs else None
    again_ms = _call_p50_ms(stage, echo, calls)
    return {
        "services_200_p50_ratio": beside_ms / min(alone_ms, again_ms),
        "registry_cpu_share": share,
        "status_all_ms": status_ms,
        "status_all_services": told,
    }


def _call_p50_ms(stage: Platform, echo: Echo, calls: int) -> float:
    request, took = request_bytes("POST", stage.url, path=echo.path, headers=stage.headers, body=BODY), []
    with Connection(stage.url) as connection:
        for _ in range(calls):
            began = time.perf_counter()
            answer = connection.send(request)
            took.append((time.perf_counter() - began) * 1000)
            if answer.status != 200:  # noqa: PLR2004
                raise RuntimeError(f"the echo answered {answer.status}: {answer.body[:200]!r}")
    return statistics.median(took)


def _leases(stage: Platform) -> dict[str, Any]:
    say("1,000 leases asked for at once")
    found = many.lease_at_once(stage)
    if found is None:
        say("the platform's data folder is not at hand: no leases")
        return {"lease_conflicts": None}
    return {
        "lease_conflicts": found.conflicts,
        "leases_granted": found.granted,
        "leases_refused": found.refused,
        "lease_refusal": found.refusal,
    }


def main() -> int:
    """Measure and print; exits 1 with ``--check`` when a figure misses its goal."""
    wanted = options("deploy", __doc__).parse_args()
    with platform() as stage:
        figures = _measure(stage, wanted.scale)
    return report(figures, GOALS, wanted)


if __name__ == "__main__":
    sys.exit(main())
