"""Submissions alone: one client process, raw protocols, each connection sending as soon as it was answered."""

from __future__ import annotations

import asyncio
import json
import re
import time
import uuid
from collections.abc import Iterator
from typing import TYPE_CHECKING, cast
from urllib.parse import urlsplit

import uvloop
from wire import request_bytes

if TYPE_CHECKING:
    from stage import Platform

__all__ = ["in_batches", "one_by_one"]

_LENGTH = re.compile(rb"(?i)\r\ncontent-length: *(\d+)")
_PATH = "/api/v1/tasks"


def one_by_one(platform: Platform, algorithm: str, count: int, *, connections: int) -> float:
    """Submit ``count`` tasks, one a request; return how many a second were accepted.

    Raises:
        RuntimeError: one was not accepted.
    """
    bodies = [json.dumps(_task(algorithm, number)).encode() for number in range(count)]
    _, took = _send(platform, bodies, connections)
    return count / took


def in_batches(
    platform: Platform, algorithm: str, count: int, *, batch: int, connections: int
) -> tuple[list[str], float]:
    """Submit ``count`` tasks, ``batch`` a request; return their ids, and how many a second were accepted.

    Raises:
        RuntimeError: one was not accepted.
    """
    numbers = range(count)
    bodies = [
        json.dumps({"tasks": [_task(algorithm, number) for number in numbers[at : at + batch]]}).encode()
        for at in range(0, count, batch)
    ]
    answers, took = _send(platform, bodies, connections)
    made = [task for answer in answers for task in json.loads(answer)["tasks"]]
    refused = [task for task in made if "id" not in task]
    if refused or len(made) != count:
        raise RuntimeError(f"{len(refused)} of {count} were refused, such as {refused[:1]}")
    return [str(task["id"]) for task in made], count / took


def _task(algorithm: str, number: int) -> dict[str, object]:
    return {"algorithm": algorithm, "input": {"n": number}, "idempotency_key": uuid.uuid4().hex}


def _send(platform: Platform, bodies: list[bytes], connections: int) -> tuple[list[bytes], float]:
    requests = [request_bytes("POST", platform.url, path=_PATH, headers=platform.headers, body=body) for body in bodies]
    return uvloop.run(_run(platform.url, requests, connections))


async def _run(url: str, requests: list[bytes], connections: int) -> tuple[list[bytes], float]:
    parts = urlsplit(url)
    loop = asyncio.get_running_loop()
    left = iter(requests)
    callers = [_Caller(left, loop.create_future()) for _ in range(min(connections, len(requests)))]
    for caller in callers:
        await loop.create_connection(lambda caller=caller: caller, parts.hostname or "127.0.0.1", parts.port or 80)  # type: ignore[misc]  # bound at once
    began = time.perf_counter()
    for caller in callers:
        caller.next()
    await asyncio.gather(*(caller.done for caller in callers))
    took = time.perf_counter() - began
    return [answer for caller in callers for answer in caller.answers], took


class _Caller(asyncio.Protocol):
    """One connection: takes the next request from all as soon as its last one was answered."""

    def __init__(self, left: Iterator[bytes], done: asyncio.Future[None]) -> None:
        self.done = done
        self.answers: list[bytes] = []
        self._left = left
        self._data = b""
        self._transport: asyncio.WriteTransport

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast("asyncio.WriteTransport", transport)  # uvloop's is none by inheritance

    def connection_lost(self, error: Exception | None) -> None:
        if not self.done.done():
            self.done.set_exception(RuntimeError(f"the server closed the connection: {error}"))

    def next(self) -> None:
        request = next(self._left, None)
        if request is not None:
            self._transport.write(request)
            return
        self.done.set_result(None)
        self._transport.close()

    def data_received(self, data: bytes) -> None:
        self._data += data
        head, mark, body = self._data.partition(b"\r\n\r\n")
        length = _LENGTH.search(head)
        if not mark or length is None or len(body) < int(length[1]):
            return
        self._data = b""
        if b" 202 " not in head[:20]:
            self.done.set_exception(RuntimeError(f"not accepted: {head[:30]!r} {body[:300]!r}"))
            self._transport.abort()
            return
        self.answers.append(body)
        self.next()
