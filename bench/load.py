"""Direct and through the gateway, turn by turn in one run: one connection for latency, 32 for throughput."""

from __future__ import annotations

import json
import multiprocessing
import pathlib
import shutil
import statistics
import subprocess
import tempfile
import time
from dataclasses import dataclass
from itertools import pairwise

import closed_loop
from wire import Connection, request_bytes

__all__ = ["BODY", "Latency", "Target", "Throughput", "latency", "throughput"]

BODY = json.dumps({"input_data": ["x" * 96] * 9, "batch_id": "bench"}).encode()
"""Some 1 KB of JSON."""

_WARM_UP = 300
_CLIENTS = 2


@dataclass(frozen=True, slots=True)
class Target:
    """A URL to post to, and what it takes."""

    url: str
    path: str
    headers: dict[str, str]

    @property
    def request(self) -> bytes:
        """Return the whole request."""
        return request_bytes("POST", self.url, path=self.path, headers=self.headers, body=BODY)


@dataclass(frozen=True, slots=True)
class Latency:
    """Milliseconds at one connection."""

    direct_p50_ms: float
    gateway_p50_ms: float
    gateway_p99_ms: float

    @property
    def overhead_p50_ms(self) -> float:
        """Return what the gateway adds."""
        return self.gateway_p50_ms - self.direct_p50_ms


def latency(direct: Target, gateway: Target, pairs: int) -> Latency:
    """Call both in turns, ``pairs`` times each, on one connection each.

    Raises:
        RuntimeError: a call was not answered with 200.
    """
    requests = {name: target.request for name, target in (("direct", direct), ("gateway", gateway))}
    took: dict[str, list[float]] = {"direct": [], "gateway": []}
    with Connection(direct.url) as one, Connection(gateway.url) as other:
        connections = {"direct": one, "gateway": other}
        for turn in range(_WARM_UP + pairs):
            for name in ("direct", "gateway") if turn % 2 else ("gateway", "direct"):
                begun = time.perf_counter()
                answer = connections[name].send(requests[name])
                ended = time.perf_counter()
                if answer.status != 200:  # noqa: PLR2004
                    raise RuntimeError(f"{name} answered {answer.status}: {answer.body[:200]!r}")
                if turn >= _WARM_UP:
                    took[name].append((ended - begun) * 1000)
    return Latency(
        statistics.median(took["direct"]),
        statistics.median(took["gateway"]),
        statistics.quantiles(took["gateway"], n=100)[98],
    )


@dataclass(frozen=True, slots=True)
class Throughput:
    """Requests a second at many connections, and the client that made them."""

    direct_rps: float
    gateway_rps: float
    ratio: float
    client: str


def throughput(direct: Target, gateway: Target, *, connections: int, seconds: float, rounds: int) -> Throughput:
    """Load both in turns; the ratio is the median of each round's own, so that a busy neighbour hits both."""
    run, client = (_wrk, "wrk") if shutil.which("wrk") else (_own, f"asyncio, {_CLIENTS} processes")
    for target in (direct, gateway):
        run(target, connections, 1.0)
    speeds = [run(target, connections, seconds) for _ in range(rounds) for target in (direct, gateway)]
    ratios = [second / first for first, second in list(pairwise(speeds))[::2]]
    return Throughput(
        statistics.median(speeds[::2]), statistics.median(speeds[1::2]), statistics.median(ratios), client
    )


def _wrk(target: Target, connections: int, seconds: float) -> float:
    script = 'wrk.method = "POST"\nwrk.body = [==[' + BODY.decode() + "]==]\n"
    script += "".join(f'wrk.headers["{name}"] = "{value}"\n' for name, value in target.headers.items())
    script += 'done = function(s) io.write(string.format("%d %d %d\\n", s.requests, s.duration, s.errors.status)) end\n'
    with tempfile.TemporaryDirectory() as folder:
        lua = pathlib.Path(folder) / "post.lua"
        lua.write_text(script)
        command = ["wrk", "-t1", f"-c{connections}", f"-d{max(1, round(seconds))}s", "-s", str(lua)]
        told = subprocess.run([*command, target.url + target.path], check=True, capture_output=True, text=True)
    requests, microseconds, errors = map(int, told.stdout.strip().splitlines()[-1].split())
    if errors:
        raise RuntimeError(f"{errors} of {requests} calls to {target.path} were not answered with success")
    return requests / microseconds * 1e6


def _own(target: Target, connections: int, seconds: float) -> float:
    share = connections // _CLIENTS
    work = [(target.url, target.request, share, seconds)] * _CLIENTS
    with multiprocessing.get_context("spawn").Pool(_CLIENTS) as pool:
        return sum(pool.starmap(closed_loop.run, work))
