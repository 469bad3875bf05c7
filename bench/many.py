"""Many of something: services that are registered and answer, and leases that are asked for at once."""

from __future__ import annotations

import asyncio
import json
import pathlib
import statistics
import threading
import time
import uuid
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING

from wire import Connection, request_bytes

from algodock_common.settings import SecretSettings

if TYPE_CHECKING:
    from stage import Platform

__all__ = ["Leases", "lease_at_once", "registered", "status_all_ms"]

_HEALTHY = b'HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: 15\r\n\r\n{"status":"ok"}'


class _Answering(asyncio.Protocol):
    """Says that it is well, whatever was asked."""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = transport

    def data_received(self, data: bytes) -> None:
        if data.endswith(b"\r\n\r\n") and isinstance(self._transport, asyncio.Transport):
            self._transport.write(_HEALTHY)


@contextmanager
def registered(stage: Platform, count: int) -> Iterator[None]:
    """Have ``count`` services registered and looked at, each on a port of its own, all in this one process."""
    loop, mark = asyncio.new_event_loop(), uuid.uuid4().hex[:6]
    thread = threading.Thread(target=loop.run_forever, daemon=True)
    thread.start()

    async def listen() -> list[asyncio.Server]:
        return [await loop.create_server(_Answering, "127.0.0.1", 0, backlog=16) for _ in range(count)]

    servers = asyncio.run_coroutine_threadsafe(listen(), loop).result(60)
    names = [f"many-{mark}-{number}" for number in range(count)]
    try:
        with Connection(stage.url) as connection:
            for name, server in zip(names, servers, strict=True):
                body = {"name": name, "url": f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"}
                answer = connection.send(
                    request_bytes("POST", stage.url, path="/api/v1/registry/services", headers=stage.headers,
                                  body=json.dumps(body).encode())
                )  # fmt: skip
                if answer.status != 201:  # noqa: PLR2004
                    raise RuntimeError(f"{name} was not registered: {answer.status} {answer.body[:200]!r}")
        yield
    finally:
        for name in names:
            stage.call("DELETE", f"/api/v1/services/{name}")
        loop.call_soon_threadsafe(loop.stop)
        thread.join()


def status_all_ms(stage: Platform, times: int = 20) -> tuple[float, int]:
    """Return the median milliseconds of one call for the status of all services, and how many it told of."""
    took, told = [], 0
    request = request_bytes("GET", stage.url, path="/api/v1/services", headers=stage.headers)
    with Connection(stage.url) as connection:
        for _ in range(times):
            began = time.perf_counter()
            answer = connection.send(request)
            took.append((time.perf_counter() - began) * 1000)
            told = len(answer.json()["services"])
    return statistics.median(took), told


@dataclass(frozen=True, slots=True)
class Leases:
    """What became of the requests: ``conflicts`` are ports that two of them got."""

    granted: int
    refused: int
    conflicts: int
    refusal: str


def lease_at_once(stage: Platform, requests: int = 1000, threads: int = 64) -> Leases | None:
    """Ask the registry for more ports than it has, many at a time; None where its data folder is not at hand."""
    folder = pathlib.Path(stage.environment.get("ALGODOCK_DATA_DIR", ""))
    if stage.up_warm_s is None or not folder.is_dir():
        return None
    secret = json.loads((folder / "secrets.json").read_text())["secret_key"]
    port = json.loads((folder / "ports.json").read_text())["ports"]["registry"]
    url, token = f"http://127.0.0.1:{port}", SecretSettings(secret_key=secret).service_token()
    headers = {"authorization": f"Bearer {token}", "content-type": "application/json"}
    algorithm, release = str(uuid.uuid4()), str(uuid.uuid4())

    def lease(number: int) -> tuple[str, int, str]:
        body = {
            "algorithm_id": algorithm, "algorithm": "bench-leases", "release_id": release, "commit": "0" * 40,
            "node_id": "bench", "host": "127.0.0.1", "index": number + 1, "pinned_port": None,
            "limits": {}, "health_path": "/health", "sends_heartbeats": False,
        }  # fmt: skip
        with Connection(url) as connection:
            answer = connection.send(
                request_bytes("POST", url, path="/internal/instances", headers=headers, body=json.dumps(body).encode())
            )
        told = answer.json()
        if answer.status == 201:  # noqa: PLR2004
            return told["instance_id"], int(told["port"]), ""
        return "", 0, f"{answer.status} {told.get('detail', '')}"

    with ThreadPoolExecutor(threads) as pool:
        answers = list(pool.map(lease, range(requests)))
        granted = [(instance, got) for instance, got, _ in answers if instance]
        with Connection(url) as connection:
            for instance, _ in granted:
                path = f"/internal/instances/{instance}"
                connection.send(request_bytes("DELETE", url, path=path, headers=headers))
    twice = sum(count - 1 for count in Counter(got for _, got in granted).values())
    refusals = Counter(refusal for *_, refusal in answers if refusal)
    return Leases(len(granted), requests - len(granted), twice, refusals.most_common(1)[0][0] if refusals else "")
