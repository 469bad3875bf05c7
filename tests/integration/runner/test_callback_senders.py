"""Who sends callbacks, to whom, and how many at once: turns, shared transactions, a sender that is killed."""

from __future__ import annotations

import asyncio
import sys
import time
from typing import TYPE_CHECKING, Any

import sqlalchemy as sa
from aiohttp import web

from algodock_runner.domain.callbacks import Answer, Delivery, verdict_of
from algodock_runner.handlers.deliver import CallbackSender
from algodock_runner.repository.callbacks import DueCallback, claim_callbacks, record

from .receiving import Receiver, due_now, finished, stands

if TYPE_CHECKING:
    from collections.abc import Sequence
    from uuid import UUID

    import pytest

    from algodock_common.database import Transaction

    from .conftest import Platform

SECRET = "whsec_c2VjcmV0LXNlY3JldC1zZWNyZXQtMTIzNA=="


async def test_targets_take_turns_however_many_wait_for_one(platform: Platform, receiver: Receiver) -> None:
    many = [await finished(platform, receiver.url) for _ in range(6)]
    await finished(platform, receiver.url.replace("127.0.0.1", "localhost"))
    async with platform.sender(at_once=2) as sender:
        assert await sender.send_due() == 2
        await sender.idle()
    first = {headers["host"].split(":")[0]: headers["webhook-id"] for headers, _ in receiver.got}
    assert set(first) == {"127.0.0.1", "localhost"}
    assert first["127.0.0.1"] == f"msg_{many[0].hex}"  # the oldest


async def test_a_receiver_that_hangs_for_one_owner_is_not_slower_for_another(
    platform: Platform, receiver: Receiver
) -> None:
    """Many receivers live behind one host: whoever lets a path of it hang must not slow down the neighbours."""
    platform.gateway.secrets["key-2"] = (SECRET,)
    for path in range(4):
        await finished(platform, f"{receiver.url}/hang{path}")
    for _ in range(2):
        await finished(platform, receiver.url, owner="key-2")
    held = asyncio.Event()

    async def hang(request: web.Request) -> web.StreamResponse:
        if "hang" in request.path:
            await held.wait()
        return web.Response()

    receiver.answers = [hang] * 6
    async with platform.sender(timeout_s=20) as sender:
        assert await sender.send_due() == 4  # two of each
        query = "SELECT 1 FROM callbacks WHERE owner = 'key-2' HAVING count(*) FILTER (WHERE state = 'delivered') = 2"
        assert await sender.send_due() == 0
        await platform.eventually(lambda: _written(sender, platform, query))
        held.set()
        await sender.idle()


async def _written(sender: CallbackSender, platform: Platform, query: str) -> object:
    await sender.send_due()
    return await platform.rows(query)


async def test_many_share_transactions_and_connections(platform: Platform, receiver: Receiver) -> None:
    """What one receiver gets costs neither a commit nor a connection each."""
    await finished(platform, receiver.url)
    columns = "owner, algorithm, state, priority, max_attempts, expires_at, request_hash, body, content_type, metadata"
    await platform.change(
        f"""WITH more AS (
            INSERT INTO tasks (id, callback_url, finished_at, {columns})
            SELECT gen_random_uuid(), callback_url, finished_at, {columns} FROM tasks, generate_series(1, 199)
            RETURNING id, owner, callback_url
        ) INSERT INTO callbacks (task_id, owner, url) SELECT id, owner, callback_url FROM more"""  # noqa: S608
    )
    peers: set[object] = set()

    async def note(request: web.Request) -> web.StreamResponse:
        assert request.transport
        peers.add(request.transport.get_extra_info("peername"))
        return web.Response(text="ok")

    receiver.answers = [note] * 200
    transactions, begin = 0, platform.db.transaction

    def counted() -> Any:
        nonlocal transactions
        transactions += 1
        return begin()

    async with platform.sender(timeout_s=10) as sender:
        platform.db.transaction = counted  # type: ignore[method-assign]  # only counted
        await sender.start()
        sender.wake()
        query = "SELECT 1 FROM callbacks HAVING count(*) FILTER (WHERE state = 'delivered') = 200"
        await platform.eventually(lambda: platform.rows(query), seconds=60)
    assert len(receiver.got) == 200
    assert transactions < 100
    assert len(peers) <= 16


async def test_a_stale_senders_word_changes_nothing_but_the_log(platform: Platform, receiver: Receiver) -> None:
    await finished(platform, receiver.url)
    claimed: list[DueCallback] = []
    for _ in range(2):  # the first one's lease has run out
        async with platform.db.transaction() as tx:
            taken = await claim_callbacks(tx, room=1, free={}, others=1, lease_s=60, gateway_url="http://gateway.test")
        claimed += taken.due
        await due_now(platform)
    first, second = claimed

    async def told(due: DueCallback, status: int) -> None:
        answer = Answer(status)
        one = Delivery(due.task_id, due.attempts, time.monotonic(), 0.1, answer, verdict_of(answer, due.tries))
        async with platform.db.transaction() as tx:
            await record(tx, [one], log_rows=50)

    await told(first, 410)
    row = await stands(platform)
    assert (row.state, row.attempts, row.last_status) == ("pending", 2, None)  # the second one is under way
    assert not await platform.rows("SELECT 1 FROM callback_targets")
    await told(second, 204)
    await told(first, 500)
    row = await stands(platform)
    assert (row.state, row.last_status) == ("delivered", 204)
    log = await platform.rows("SELECT attempt, status FROM callback_deliveries ORDER BY attempt")
    assert [(one.attempt, one.status) for one in log] == [(1, 410), (2, 204)]


async def delivered(platform: Platform, task: UUID) -> bool:
    return bool(await platform.rows("SELECT 1 FROM callbacks WHERE state = 'delivered' AND task_id = :id", id=task))


async def test_what_was_delivered_while_postgresql_was_away_is_recorded_later_and_not_sent_again(
    platform: Platform, receiver: Receiver, monkeypatch: pytest.MonkeyPatch
) -> None:
    tries = 0

    async def flaky(tx: Transaction, deliveries: Sequence[Delivery], *, log_rows: int) -> None:
        nonlocal tries
        if deliveries:
            tries += 1
            if tries <= 2:
                msg = "PostgreSQL is being restarted"
                raise ConnectionResetError(msg)
        await record(tx, deliveries, log_rows=log_rows)

    monkeypatch.setattr("algodock_runner.repository.callbacks.record", flaky)
    monkeypatch.setattr("algodock_runner.handlers.deliver.LOOK_EVERY_S", 0.05)
    task = await finished(platform, receiver.url)
    async with platform.sender() as sender:
        await sender.start()
        await platform.eventually(lambda: delivered(platform, task))
    assert (tries, len(receiver.got)) == (3, 1)


async def test_a_delivery_that_cannot_be_written_does_not_keep_its_neighbours_from_it(
    platform: Platform, receiver: Receiver, monkeypatch: pytest.MonkeyPatch
) -> None:
    wrong, fine = [await finished(platform, receiver.url) for _ in range(2)]
    together = asyncio.Event()

    async def choosy(tx: Transaction, deliveries: Sequence[Delivery], *, log_rows: int) -> None:
        if {one.task_id for one in deliveries} >= {wrong, fine}:
            together.set()
        if any(one.task_id == wrong for one in deliveries):
            msg = "a bug"
            raise RuntimeError(msg)
        if together.is_set() or not deliveries:
            await record(tx, deliveries, log_rows=log_rows)
        else:
            msg = "not before both have come"
            raise ConnectionResetError(msg)

    monkeypatch.setattr("algodock_runner.repository.callbacks.record", choosy)
    monkeypatch.setattr("algodock_runner.handlers.deliver.LOOK_EVERY_S", 0.05)
    both = asyncio.Barrier(2)

    async def meet(_: web.Request) -> web.StreamResponse:
        await both.wait()
        return web.Response(status=204)

    receiver.answers = [meet, meet]
    async with platform.sender(timeout_s=20) as sender:
        await sender.start()
        await platform.eventually(lambda: delivered(platform, fine))
        assert not await delivered(platform, wrong)


RECORDING = """
SELECT 1 FROM pg_stat_activity WHERE wait_event_type = 'Lock' AND query LIKE '%INSERT INTO callback_deliveries%'
"""

SENDER = """
import asyncio
from algodock_common.database import Database
from algodock_common.settings import DatabaseSettings
from algodock_runner.clients.callback_target import HttpCallbackTarget
from algodock_runner.clients.gateway import FakeGateway
from algodock_runner.handlers.deliver import CallbackSender
from algodock_runner.settings import CallbackSettings

async def main():
    settings, gateway = CallbackSettings(allow_private=True), FakeGateway()
    gateway.secrets["key-1"] = ("whsec_c2VjcmV0LXNlY3JldC1zZWNyZXQtMTIzNA==",)
    target = HttpCallbackTarget(settings.destinations, timeout_s=10)
    await target.start()
    db = Database(DatabaseSettings(), schema="runner", source="/runner")
    await CallbackSender(db, gateway, target, settings=settings, gateway_url="http://gateway.test").start()
    await asyncio.Event().wait()

asyncio.run(main())
"""


async def test_one_whose_sender_is_killed_before_it_is_recorded_is_delivered_again_with_the_same_id(
    platform: Platform, receiver: Receiver
) -> None:
    id_ = await finished(platform, receiver.url)
    asked, locked = asyncio.Event(), asyncio.Event()

    async def answer(_: web.Request) -> web.StreamResponse:
        asked.set()
        await locked.wait()
        return web.Response(status=204)

    receiver.answers = [answer]
    sender = await asyncio.create_subprocess_exec(sys.executable, "-c", SENDER)
    try:
        async with asyncio.timeout(40):
            await asked.wait()
        async with platform.db.transaction() as tx:
            await tx.session.execute(sa.text("SELECT 1 FROM callbacks FOR UPDATE"))  # nobody can record it
            locked.set()
            await platform.eventually(lambda: platform.rows(RECORDING), seconds=60)
            sender.kill()
            await sender.wait()
    finally:
        if sender.returncode is None:
            sender.kill()
            await sender.wait()
    row = await stands(platform)
    assert (row.state, row.attempts) == ("pending", 1)
    async with platform.sender() as other:
        assert await other.send_due() == 0  # the lease of the first one holds
        assert 0 < row.wait_s < 26
        await due_now(platform)
        assert await other.send_due() == 1
        await other.idle()
    assert [headers["webhook-id"] for headers, _ in receiver.got] == [f"msg_{id_.hex}"] * 2
    assert receiver.got[0][1] == receiver.got[1][1]
    assert (await stands(platform)).state == "delivered"
