"""Callbacks: what is due leaves signed, and comes back by its schedule until somebody takes it.

The workers send them, not the API: whoever ended a task sends its callback at once, without a
bell in between, and more workers are more senders. What was delivered while one transaction
commits is recorded by the next, which also claims what leaves then.
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
from algodock_common.outages import is_infrastructure, is_shortage
from algodock_runner.clients.gateway import NoCallbackSecret
from algodock_runner.domain.callbacks import Answer, Delivery, Verdict, signed_headers, verdict_of, webhook_id
from algodock_runner.domain.pacing import Pacing
from algodock_runner.repository import callbacks

if TYPE_CHECKING:
    from collections.abc import Sequence

    from algodock_common.database import Database
    from algodock_runner.clients.callback_target import CallbackTarget
    from algodock_runner.clients.gateway import Gateway
    from algodock_runner.repository.callbacks import DueCallback
    from algodock_runner.settings import CallbackSettings

__all__ = ["CallbackSender", "callback_body"]

log = structlog.get_logger()

LOOK_EVERY_S = 1.0
NOTHING_FOUND_S = 0.02
"""Tasks without callbacks end, too, and each end wakes the sender: so long it does not look in vain again."""

POSTPONE_S = 5.0
LEASE_MARGIN_S = 10.0
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
        self._pacing = Pacing(settings.per_target)
        self._wanted = asyncio.Event()
        self._one_ended = asyncio.Event()
        self._sending: set[asyncio.Task[None]] = set()
        self._ended: list[Delivery] = []
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
        try:
            await self._write()
        except Exception as error:  # noqa: BLE001  # they are delivered again: at least once was promised
            log.warning("callbacks_not_recorded", deliveries=len(self._ended), error=repr(error))

    async def send_due(self) -> int:
        """Record what was delivered, take what is due and begin to send it; return how many rows that were."""
        room = self._settings.at_once - len(self._sending)
        if room <= 0:
            await self._write()
            return 0
        ended, self._ended = self._ended, []
        try:
            async with self._db.transaction() as tx:
                await callbacks.record(tx, ended, log_rows=self._settings.log_rows)
                claimed = await callbacks.claim_callbacks(
                    tx,
                    room=room,
                    free=self._pacing.free(time.monotonic()),
                    others=self._pacing.first,
                    lease_s=self._settings.timeout_s + LEASE_MARGIN_S,
                    gateway_url=self._gateway_url,
                )
        except Exception:
            self._ended = ended + self._ended
            raise
        _count(ended)
        for due in claimed.due:
            self._pacing.begin(due.target)
            task = asyncio.create_task(self._deliver(due), name=f"callback-{due.task_id}")
            self._sending.add(task)
            task.add_done_callback(self._sent)
        return claimed.rows

    async def idle(self) -> None:
        """Return when nothing is on its way any more, and all is recorded."""
        while self._sending:
            await asyncio.wait(self._sending)
        await self._write()

    def _sent(self, task: asyncio.Task[None]) -> None:
        self._sending.discard(task)
        if not task.cancelled() and task.exception() is not None:
            log.error("callback_not_delivered", exc_info=task.exception())
        self._one_ended.set()
        self._wanted.set()

    async def _run(self) -> None:
        while True:
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(LOOK_EVERY_S):
                    await self._wanted.wait()
            self._wanted.clear()
            self._one_ended.clear()
            try:
                if not await self.send_due():
                    with contextlib.suppress(TimeoutError):
                        async with asyncio.timeout(NOTHING_FOUND_S):
                            await self._one_ended.wait()
                elif len(self._sending) < self._settings.at_once:
                    self._wanted.set()  # there may be more
            except Exception as error:  # the next look may succeed
                expected = is_infrastructure(error) or is_shortage(error)
                log.warning("callbacks_not_claimed", error=repr(error), exc_info=None if expected else error)
                if not expected:
                    await self._write_singly()
                await asyncio.sleep(LOOK_EVERY_S)

    async def _write(self) -> None:
        """Record what was delivered; it is kept when that fails."""
        ended, self._ended = self._ended, []
        try:
            async with self._db.transaction() as tx:
                await callbacks.record(tx, ended, log_rows=self._settings.log_rows)
        except Exception:
            self._ended = ended + self._ended
            raise
        _count(ended)

    async def _write_singly(self) -> None:
        """Record one at a time: what cannot be written is delivered again, and its neighbours are not."""
        ended, self._ended = self._ended, []
        for one in ended:
            try:
                async with self._db.transaction() as tx:
                    await callbacks.record(tx, [one], log_rows=self._settings.log_rows)
            except Exception as error:  # it is due again after its lease
                if is_infrastructure(error) or is_shortage(error):
                    self._ended.append(one)
                else:
                    log.exception("callback_not_recorded", task=str(one.task_id))
            else:
                _count([one])

    async def _deliver(self, due: DueCallback) -> None:
        began_s = time.monotonic()
        answer: Answer | None = None
        try:
            with span(
                "callback",
                parent=due.traceparent,
                kind="client",
                algodock__task=str(due.task_id),
                algodock__attempt=due.attempts,
            ) as handle:
                answer, ours = await self._try(due)
                verdict = verdict_of(answer, due.tries) if answer else Verdict("pending", POSTPONE_S)
                handle.set(
                    http__response__status_code=answer.status if answer else None, algodock__callback=verdict.state
                )
                if ours or (answer and answer.error):
                    handle.fail(ours or (answer.error if answer else ""))
        finally:
            self._pacing.end(due.target, answer, time.monotonic())
        took_s = time.monotonic() - began_s
        told = answer or Answer(None, ours)
        self._ended.append(
            Delivery(due.task_id, due.attempts, began_s, took_s, told, verdict, spent=answer is not None)
        )
        if verdict.state != "delivered":
            log.info(
                "callback_not_taken", task=str(due.task_id), attempt=due.attempts, status=told.status, error=told.error
            )

    async def _try(self, due: DueCallback) -> tuple[Answer | None, str]:
        """Post it once; without an answer: why it could not even be tried, which is ours to repair."""
        try:
            secrets = await self._gateway.callback_secrets(due.owner)
            body = callback_body(due)
            headers = signed_headers(secrets, webhook_id(due.task_id), int(time.time()), body)
        except NoCallbackSecret as error:
            return Answer(None, error.detail), ""
        except AlgoDockError as error:
            return None, error.detail
        except ValueError as error:
            return None, str(error)
        answer = await self._target.post(due.url, body, headers)
        failpoints.reach("callback.sent")
        return answer, ""


def _count(deliveries: Sequence[Delivery]) -> None:
    for one in deliveries:
        DELIVERIES.labels(one.verdict.state if one.spent else "postponed").inc()
