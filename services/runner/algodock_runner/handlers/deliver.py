"""Callbacks: what is due leaves signed, and comes back by its schedule until somebody takes it.

The workers send them, not the API: whoever ended a task sends its callback at once, without a
bell in between, and more workers are more senders.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import time
from typing import TYPE_CHECKING

import structlog
from prometheus_client import Counter

from algodock_common import failpoints
from algodock_common.errors import AlgoDockError
from algodock_common.observability import span
from algodock_common.outages import is_infrastructure
from algodock_runner.clients.gateway import NoCallbackSecret
from algodock_runner.domain.callbacks import Answer, signed_headers, verdict_of, webhook_id
from algodock_runner.repository import callbacks

if TYPE_CHECKING:
    from algodock_common.database import Database
    from algodock_runner.clients.callback_target import CallbackTarget
    from algodock_runner.clients.gateway import Gateway
    from algodock_runner.repository.callbacks import DueCallback
    from algodock_runner.settings import CallbackSettings

__all__ = ["CallbackSender", "callback_body"]

log = structlog.get_logger()

LOOK_EVERY_S = 1.0
POSTPONE_S = 5.0
GRACE_S = 2.0

DELIVERIES = Counter("algodock_callback_deliveries_total", "Callback deliveries by what the callback became", ["state"])


def callback_body(due: DueCallback) -> bytes:
    """Return the body: the same bytes at each attempt, because the task has ended."""
    data = due.event.model_dump(mode="json", exclude_none=True)
    document = {"type": due.event.topic, "timestamp": data["finished_at"], "data": data}
    return json.dumps(document, separators=(",", ":")).encode()


class CallbackSender:
    """Delivers callbacks, so many at once; a callback whose sender dies is sent again by another."""

    def __init__(
        self, db: Database, gateway: Gateway, target: CallbackTarget, *, settings: CallbackSettings, gateway_url: str
    ) -> None:
        """Keep what it works with."""
        self._db = db
        self._gateway = gateway
        self._target = target
        self._settings = settings
        self._gateway_url = gateway_url
        self._wanted = asyncio.Event()
        self._sending: set[asyncio.Task[None]] = set()
        self._more = False
        self._loop: asyncio.Task[None] | None = None

    def wake(self) -> None:
        """Look for due callbacks now."""
        self._wanted.set()

    async def start(self) -> None:
        """Begin to send."""
        self._loop = asyncio.create_task(self._run(), name="callbacks")

    async def stop(self) -> None:
        """Take no more; what is on its way has a moment to end, the rest is due again after its lease."""
        if self._loop is not None:
            self._loop.cancel()
            await asyncio.gather(self._loop, return_exceptions=True)
            self._loop = None
        if self._sending:
            await asyncio.wait(self._sending, timeout=GRACE_S)
        for task in list(self._sending):
            task.cancel()
        await asyncio.gather(*self._sending, return_exceptions=True)

    async def send_due(self) -> int:
        """Take what is due and begin to send it; return how many that were."""
        room = self._settings.at_once - len(self._sending)
        if room <= 0:
            self._more = True
            return 0
        async with self._db.transaction() as tx:
            found = await callbacks.claim_callbacks(
                tx, room=room, lease_s=2 * self._settings.timeout_s + POSTPONE_S, gateway_url=self._gateway_url
            )
        self._more = len(found) == room
        for due in found:
            task = asyncio.create_task(self._deliver(due), name=f"callback-{due.task_id}")
            self._sending.add(task)
            task.add_done_callback(self._sent)
        return len(found)

    async def idle(self) -> None:
        """Return when nothing is on its way any more."""
        while self._sending:
            await asyncio.wait(self._sending)

    def _sent(self, task: asyncio.Task[None]) -> None:
        self._sending.discard(task)
        if not task.cancelled() and task.exception() is not None:
            log.warning("callback_not_recorded", error=repr(task.exception()))
        if self._more:
            self._wanted.set()

    async def _run(self) -> None:
        while True:
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(self._wanted.wait(), LOOK_EVERY_S)
            self._wanted.clear()
            try:
                await self.send_due()
            except Exception as error:  # the next look may succeed
                expected = is_infrastructure(error)
                log.warning("callbacks_not_claimed", error=repr(error), exc_info=None if expected else error)
                await asyncio.sleep(LOOK_EVERY_S)

    async def _deliver(self, due: DueCallback) -> None:
        with span(
            "callback",
            parent=due.traceparent,
            kind="client",
            algodock__task=str(due.task_id),
            algodock__attempt=due.attempts,
        ) as handle:
            try:
                secret = await self._gateway.callback_secret(due.owner)
            except NoCallbackSecret as error:
                answer = Answer(None, error.detail)
            except AlgoDockError as error:  # ours to repair, so the attempt is not spent
                handle.fail(error.detail)
                async with self._db.transaction() as tx:
                    await callbacks.postpone(tx, due, wait_s=POSTPONE_S, error=error.detail)
                return
            else:
                body = callback_body(due)
                headers = signed_headers(secret, webhook_id(due.task_id), int(time.time()), body)
                answer = await self._target.post(due.url, body, headers)
                failpoints.reach("callback.sent")
            verdict = verdict_of(answer, due.attempts)
            handle.set(http__response__status_code=answer.status, algodock__callback=verdict.state)
            if answer.error:
                handle.fail(answer.error)
            async with self._db.transaction() as tx:
                await callbacks.record(tx, due, answer, verdict)
        DELIVERIES.labels(verdict.state).inc()
        if verdict.state != "delivered":
            log.info(
                "callback_not_taken",
                task=str(due.task_id),
                attempt=due.attempts,
                status=answer.status,
                error=answer.error,
            )
