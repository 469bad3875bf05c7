"""The demo's two tasks, by REST and by a Kafka producer, and their results out of the object store."""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any
from uuid import uuid4

import httpx

from algodock_cli.client.access import is_loopback
from algodock_cli.client.ended import wait_for
from algodock_cli.client.errors import NotInTime, TaskNotSucceeded
from algodock_cli.client.gateway import Gateway
from algodock_cli.failures import CommandFailed

__all__ = ["Finished", "by_kafka", "by_rest"]

TIMEOUT_S = 120.0
_SEND_TIMEOUT_S = 10.0
_ACCEPTED_S = 5.0  # a message that became no task by then was lost with its broker, and is sent again
_LOOK_S = 0.02


@dataclass(frozen=True)
class Finished:
    """A task that succeeded: ``milliseconds`` from its submission until its result was read."""

    task: dict[str, Any]
    milliseconds: float
    result: Any
    stored_at: str


def by_rest(gateway: Gateway, body: dict[str, Any]) -> Finished:
    """Submit ``body`` to the gateway, wait for the end, read the result.

    Raises:
        TaskNotSucceeded, NotInTime: as they say.
    """
    began = time.monotonic()
    task = gateway.post("/api/v1/tasks", body, repeat=True)
    return _finish(gateway, task["id"], began)


def by_kafka(gateway: Gateway, bootstrap: str, body: dict[str, Any], say: Callable[[str], None]) -> Finished:
    """Send ``body`` to the topic ``task.requested``, find its task by the idempotency key, and go on as ``by_rest``."""
    end = time.monotonic() + TIMEOUT_S
    while True:
        began = time.monotonic()
        try:
            asyncio.run(_send(bootstrap, gateway.access.key, body))
        except OSError as error:
            say(f"the broker did not take it ({error}), again")
        else:
            task_id = _accepted(gateway, body, began + _ACCEPTED_S)
            if task_id:
                return _finish(gateway, task_id, began)
            say("no task came of it, the same message again (its idempotency key makes it one task)")
        if time.monotonic() > end:
            raise NotInTime(f"Kafka made no task within {TIMEOUT_S:.0f} s")
        time.sleep(_LOOK_S)


async def _send(bootstrap: str, key: str, body: dict[str, Any]) -> None:
    """Send one CloudEvent with the key in its header.

    Raises:
        OSError: the broker could not be reached, or did not take it in time.
    """
    from aiokafka import AIOKafkaProducer
    from aiokafka.errors import KafkaError

    event = {
        "specversion": "1.0",
        "id": uuid4().hex,
        "source": "/demo",
        "type": "task.requested.v1",
        "datacontenttype": "application/json",
        "data": body,
    }
    producer = AIOKafkaProducer(bootstrap_servers=bootstrap, acks="all", request_timeout_ms=int(_SEND_TIMEOUT_S * 1000))
    try:
        async with asyncio.timeout(_SEND_TIMEOUT_S):
            await producer.start()
            await producer.send_and_wait(
                "task.requested",
                json.dumps(event, ensure_ascii=False).encode(),
                key=str(body["idempotency_key"]).encode(),
                headers=[("authorization", f"Bearer {key}".encode())],
            )
    except (KafkaError, TimeoutError) as error:
        raise ConnectionError(str(error) or type(error).__name__) from error
    finally:
        await producer.stop()


def _accepted(gateway: Gateway, body: dict[str, Any], end: float) -> str | None:
    """Return the id of the task that has the body's idempotency key, or None if there is none by ``end``."""
    while time.monotonic() < end:
        tasks = gateway.get("/api/v1/tasks", algorithm=body["algorithm"], limit=20)["tasks"]
        for task in tasks:
            if task.get("idempotency_key") == body["idempotency_key"]:
                return str(task["id"])
        time.sleep(_LOOK_S)
    return None


def _finish(gateway: Gateway, task_id: str, began: float) -> Finished:
    task = wait_for(gateway, task_id, TIMEOUT_S)
    if task["state"] != "succeeded":
        error = task.get("error") or {}
        raise TaskNotSucceeded(f"task {task_id} {task['state']}\n  why:  {error.get('type')}: {error.get('message')}")
    result, stored_at = _stored(gateway, task_id)
    return Finished(task, (time.monotonic() - began) * 1000, result, stored_at)


def _stored(gateway: Gateway, task_id: str) -> tuple[Any, str]:
    """Return the result, read from the object store by a presigned link, without any key, and where it lies."""
    end = time.monotonic() + TIMEOUT_S
    while True:
        response = gateway.request("GET", f"/api/v1/tasks/{task_id}/result", repeat=True, params={"link": "true"})
        if not response.is_redirect:
            raise CommandFailed(f"the result of task {task_id} came without a link to the object store")
        link = response.headers["location"]
        try:
            stored = httpx.get(link, timeout=30, trust_env=not is_loopback(link))
        except httpx.TransportError as error:
            failure = f"{type(error).__name__}: {error}"
        else:
            if stored.is_success:
                return stored.json(), link.partition("?")[0]
            failure = f"status {stored.status_code}"
        if time.monotonic() > end:
            raise NotInTime(f"the object store did not answer within {TIMEOUT_S:.0f} s\n  why:  {failure}")
        time.sleep(_LOOK_S)
