"""The books outside the system: an algorithm and a receiver that count, beside what was submitted."""

from __future__ import annotations

import asyncio
import itertools
import statistics
import threading
import time
from collections import Counter, defaultdict
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any, Self
from uuid import uuid4

import httpx
from aiohttp import web
from standardwebhooks.webhooks import Webhook

from tests.outside.obedient import obey
from tests.outside.platform import Platform, eventually

__all__ = ["Execution", "Ledger", "p95", "percentile"]


@dataclass
class Execution:
    """One run of the algorithm; times by the monotonic clock."""

    attempt: int
    begun: float
    mark: str
    ended: float | None = None


@dataclass
class Ledger:
    """Listens as an algorithm (``/predict``) and as a receiver of callbacks (``/callback``), and keeps both.

    An input is ``{"n": …}`` with, if wanted, what ``obey`` knows. The answer carries the execution's own
    mark, so that a second result could be told from the first. ``at`` is an algorithm of another process
    to register in its stead: then no execution is seen.
    """

    name: str
    url: str = ""
    submitted: dict[str, dict[str, Any]] = field(default_factory=dict)
    executions: dict[str, list[Execution]] = field(default_factory=lambda: defaultdict(list))
    callbacks: dict[str, list[str]] = field(default_factory=lambda: defaultdict(list))
    refused: Counter[int] = field(default_factory=Counter)
    secret: str = ""

    @classmethod
    @contextmanager
    def open(cls, platform: Platform, prefix: str = "ledger", *, at: str | None = None) -> Iterator[Self]:
        """Serve until the block ends, registered at the platform as a service that runs elsewhere."""
        ledger = cls(f"{prefix}-{uuid4().hex[:6]}", secret=platform.callback_secret)
        loop = asyncio.new_event_loop()
        thread = threading.Thread(target=loop.run_forever, daemon=True)
        thread.start()
        runner = asyncio.run_coroutine_threadsafe(ledger._serve(), loop).result(10)
        try:
            body = {"name": ledger.name, "url": at or ledger.url}
            answer = platform.call("POST", "/api/v1/registry/services", json=body)
            assert answer.status_code == 201, answer.text
            eventually(lambda: platform.predict(ledger.name, {"n": 0}).status_code == 200)
            yield ledger
        finally:
            platform.call("DELETE", f"/api/v1/services/{ledger.name}")
            asyncio.run_coroutine_threadsafe(_end(runner), loop).result(20)
            loop.call_soon_threadsafe(loop.stop)
            thread.join()
            loop.close()

    async def _serve(self) -> web.AppRunner:
        app = web.Application(client_max_size=64 * 2**20)
        app.add_routes(
            [
                web.get("/health", self._health),
                web.post("/predict", self._predict),
                web.post("/callback", self._callback),
            ]
        )
        runner = web.AppRunner(app, shutdown_timeout=0.5)
        await runner.setup()
        site = web.TCPSite(runner, "127.0.0.1", 0)
        await site.start()
        host, port = runner.addresses[0][:2]
        self.url = f"http://{host}:{port}"
        return runner

    async def _health(self, _: web.Request) -> web.Response:
        return web.json_response({"status": "ok"})

    async def _predict(self, request: web.Request) -> web.Response:
        asked = await request.json()
        execution = Execution(int(request.headers.get("x-algodock-attempt", "0")), time.monotonic(), uuid4().hex)
        task = request.headers.get("x-algodock-task")
        if task is not None:
            self.executions[task].append(execution)
        answer = await obey(asked, execution.mark)
        execution.ended = time.monotonic()
        return answer

    async def _callback(self, request: web.Request) -> web.Response:
        raw, headers = await request.read(), {name.lower(): value for name, value in request.headers.items()}
        event = Webhook(self.secret).verify(raw, headers)
        self.callbacks[event["data"]["id"]].append(headers["webhook-id"])
        return web.Response(status=204)

    def submit(self, api: httpx.Client, seconds: float = 60, **asked: Any) -> str:
        """Submit one task, repeated with its idempotency key until it is accepted; return its id."""
        task = {**asked.pop("task", {})}
        asked.setdefault("n", len(self.submitted))
        body = {
            "algorithm": self.name,
            "input": asked,
            "callback_url": f"{self.url}/callback",
            "idempotency_key": uuid4().hex,
            "max_attempts": 10,
            **task,
        }
        end, last = time.monotonic() + seconds, "nothing"
        while time.monotonic() < end:
            try:
                answer = api.post("/api/v1/tasks", json=body)
            except httpx.TransportError as error:
                last = repr(error)
                self.refused[0] += 1
            else:
                if answer.is_success:
                    task_id: str = answer.json()["id"]
                    self.submitted[task_id] = asked
                    return task_id
                last = f"{answer.status_code} {answer.text[:300]}"
                assert answer.status_code in {429, 500, 502, 503, 504}, last
                self.refused[answer.status_code] += 1
            time.sleep(0.1)
        raise AssertionError(f"not accepted within {seconds} s; last: {last}")

    def submit_many(self, platform: Platform, count: int, *, threads: int = 4, **asked: Any) -> list[str]:
        """Submit ``count`` tasks by some threads."""

        def some(numbers: range) -> list[str]:
            with platform.api() as api:
                return [self.submit(api, n=number, **asked) for number in numbers]

        with ThreadPoolExecutor(threads) as pool:
            return [
                task for made in pool.map(some, [range(at, count, threads) for at in range(threads)]) for task in made
            ]

    def running(self) -> list[str]:
        """Return the tasks whose algorithm works at this moment."""
        return [task for task, runs in list(self.executions.items()) if any(run.ended is None for run in runs)]

    def check(self, platform: Platform, *, seconds: float = 120, state: str = "succeeded") -> dict[str, float]:
        """Hold the promise against the books; return what it cost.

        Every task that was accepted is over, once and for ever; its one result is that of one of
        its executions; its callback came, each time with the same id.
        """
        ends = {task: platform.finished(task, seconds) for task in self.submitted}
        wrong = {task: end for task, end in ends.items() if end["state"] != state}
        assert not wrong, f"{len(wrong)} of {len(ends)} are not {state}, such as {next(iter(wrong.values()))}"
        with platform.api() as api:
            for task, end in ends.items():
                assert self.executions[task], f"{task} was never executed"
                if state == "succeeded":
                    result = self._result(api, task)
                    assert result["n"] == self.submitted[task]["n"]
                    assert result["mark"] in {run.mark for run in self.executions[task]}
                again = api.get(f"/api/v1/tasks/{task}").json()
                assert (again["state"], again["attempt"]) == (end["state"], end["attempt"])
        eventually(lambda: self.submitted.keys() <= self.callbacks.keys(), seconds)
        assert all(len(set(self.callbacks[task])) == 1 for task in self.submitted)
        runs = [len(self.executions[task]) for task in self.submitted]
        return {
            "tasks": len(runs),
            "executions": sum(runs),
            "run_again_share": round(sum(number > 1 for number in runs) / len(runs), 4),
            "callbacks": sum(len(self.callbacks[task]) for task in self.submitted),
        }

    def _result(self, api: httpx.Client, task: str) -> dict[str, Any]:
        answer = api.get(f"/api/v1/tasks/{task}/result", follow_redirects=True)
        assert answer.status_code == 200, (task, answer.status_code, answer.text[:300])
        result: dict[str, Any] = answer.json()
        return result

    def recoveries_s(self, kills: list[float]) -> list[float]:
        """Return, for each execution that a kill cut off, the seconds from the kill to the end of the next one."""
        found = []
        for task in self.submitted:
            runs = sorted(self.executions[task], key=lambda run: run.begun)
            for before, after in itertools.pairwise(runs):
                kill = max((at for at in kills if before.begun <= at <= after.begun), default=None)
                if kill is not None and after.ended is not None:
                    found.append(after.ended - kill)
        return found


async def _end(runner: web.AppRunner) -> None:
    """Stop serving, and what still works at an answer that nobody waits for."""
    await runner.cleanup()
    working = asyncio.all_tasks() - {asyncio.current_task()}
    for task in working:
        task.cancel()
    await asyncio.gather(*working, return_exceptions=True)


def p95(times: list[float]) -> float:
    """Return the 95th percentile; 0 of nothing."""
    return percentile(times, 95)


def percentile(times: list[float], percent: int) -> float:
    """Return a percentile (1 to 99); 0 of nothing."""
    return 0.0 if not times else statistics.quantiles(times, n=100)[percent - 1] if len(times) > 1 else times[0]
