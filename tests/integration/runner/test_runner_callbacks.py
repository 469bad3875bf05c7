"""Callbacks on real sockets: signed, repeated by their schedule, bounded, and never inside."""

from __future__ import annotations

import asyncio
import socket
import sys
import time
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime
from typing import TYPE_CHECKING, Any

import pytest
import sqlalchemy as sa
from aiohttp import web
from standardwebhooks.webhooks import Webhook

from algodock_common.errors import Unavailable
from algodock_runner.clients.callback_target import CheckedResolver, HttpCallbackTarget
from algodock_runner.domain.addresses import Destinations
from algodock_runner.domain.errors import CallbackAddressRefused
from algodock_runner.handlers.deliver import CallbackSender

from .receiving import Receiver, due_now, finished

if TYPE_CHECKING:
    from .conftest import Platform

NEW = "whsec_bmV3LW5ldy1uZXctbmV3LW5ldy1uZXc="
SECRET = "whsec_c2VjcmV0LXNlY3JldC1zZWNyZXQtMTIzNA=="


async def stands(platform: Platform) -> Any:
    query = """SELECT state, attempts, last_status, last_error,
        extract(epoch FROM next_at - now())::float8 AS wait_s FROM callbacks"""
    (row,) = await platform.rows(query)
    return row


async def test_a_finished_task_is_told_signed(platform: Platform, receiver: Receiver) -> None:
    platform.route()
    async with platform.worker():
        id_ = (await platform.submit(input={"x": 1}, callback_url=receiver.url)).id
        await platform.ended(id_)
    async with platform.sender() as sender:
        assert await sender.send_due() == 1
        await sender.idle()
        assert await sender.send_due() == 0
    ((headers, raw),) = receiver.got
    event = Webhook(SECRET).verify(raw, headers)
    assert event["type"] == "task.finished"
    assert event["timestamp"] == event["data"]["finished_at"]
    assert (event["data"]["id"], event["data"]["state"]) == (str(id_), "succeeded")
    assert event["data"]["result"] == {"got": {"x": 1}}
    assert headers["webhook-id"] == f"msg_{id_.hex}"
    view = await platform.task(id_)
    assert view.callback
    assert (view.callback.state, view.callback.attempts) == ("delivered", 1)


async def test_every_end_has_its_callback(platform: Platform, receiver: Receiver) -> None:
    id_ = await finished(platform, receiver.url)
    view = await platform.task(id_)
    assert view.callback
    assert view.callback.state == "pending"
    async with platform.sender() as sender:
        await sender.send_due()
        await sender.idle()
    assert Webhook(SECRET).verify(receiver.got[0][1], receiver.got[0][0])["data"]["state"] == "cancelled"


async def test_a_failed_delivery_is_repeated_by_the_schedule_with_the_same_id(
    platform: Platform, receiver: Receiver
) -> None:
    receiver.answers = [500, 301, 204]
    await finished(platform, receiver.url)
    async with platform.sender() as sender:
        await sender.send_due()
        await sender.idle()
        row = await stands(platform)
        assert (row.state, row.attempts, row.last_status) == ("pending", 1, 500)
        assert 4 < row.wait_s < 6.1
        assert await sender.send_due() == 0  # not due yet
        await due_now(platform)
        await sender.send_due()
        await sender.idle()
        row = await stands(platform)
        assert (row.attempts, row.last_status) == (2, 301)  # a redirect is a failure, and not followed
        assert 295 < row.wait_s < 361
        await due_now(platform)
        await sender.send_due()
        await sender.idle()
    assert (await stands(platform)).state == "delivered"
    assert len({headers["webhook-id"] for headers, _ in receiver.got}) == 1
    assert len({body for _, body in receiver.got}) == 1


async def test_the_schedule_has_an_end(platform: Platform, receiver: Receiver) -> None:
    receiver.answers = [500] * 9
    await finished(platform, receiver.url)
    async with platform.sender() as sender:
        for _ in range(9):
            await due_now(platform)
            await sender.send_due()
            await sender.idle()
    assert len(receiver.got) == 7
    assert (await stands(platform)).state == "failed"


def _in_an_hour() -> str:
    return format_datetime(datetime.now(UTC) + timedelta(hours=1), usegmt=True)


@pytest.mark.parametrize(
    ("retry_after", "wait_s"),
    [
        ("1000", 1000),
        (_in_an_hour, 3600),
        ("9" * 50, 86_400),
        ("Fri, 31 Dec 9999 23:59:59 GMT", 86_400),
        ("Wed, 21 Oct 2015 07:28:00 GMT", 5),
        ("soon", 5),
        ("-5", 5),
        ("\u0664", 5),
        ("", 5),
    ],
)
async def test_retry_after_counts(platform: Platform, receiver: Receiver, retry_after: Any, wait_s: float) -> None:
    value = retry_after() if callable(retry_after) else retry_after

    async def later(_: web.Request) -> web.StreamResponse:
        return web.Response(status=429, headers={"retry-after": value})

    receiver.answers = [later]
    await finished(platform, receiver.url)
    async with platform.sender() as sender:
        await sender.send_due()
        await sender.idle()
        waits = (await stands(platform)).wait_s
    assert wait_s - 10 < waits < 1.2 * wait_s + 1


async def test_both_secrets_sign_while_one_is_rotated(platform: Platform, receiver: Receiver) -> None:
    platform.gateway.secrets["key-1"] = (NEW, SECRET)
    await finished(platform, receiver.url)
    async with platform.sender() as sender:
        await sender.send_due()
        await sender.idle()
    ((headers, raw),) = receiver.got
    for secret in (NEW, SECRET):
        assert Webhook(secret).verify(raw, headers)["type"] == "task.finished"


async def test_a_secret_that_cannot_be_read_spends_no_attempt(platform: Platform, receiver: Receiver) -> None:
    platform.gateway.secrets["key-1"] = ("whsec_!",)
    await finished(platform, receiver.url)
    async with platform.sender() as sender:
        await sender.send_due()
        await sender.idle()
    row = await stands(platform)
    assert (row.state, row.attempts, row.last_error) == ("pending", 0, "the callback secret is not base64")
    assert not receiver.got


async def test_one_whose_key_is_gone_is_never_sent_unsigned(platform: Platform, receiver: Receiver) -> None:
    platform.gateway.secrets.clear()
    await finished(platform, receiver.url)
    async with platform.sender() as sender:
        await sender.send_due()
        await sender.idle()
    row = await stands(platform)
    assert (row.state, row.attempts) == ("pending", 1)
    assert "no callback secret any more" in row.last_error
    assert not receiver.got


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


async def test_gone_disables_all_that_is_pending_for_the_address(platform: Platform, receiver: Receiver) -> None:
    receiver.answers = [410]
    await finished(platform, receiver.url)
    await finished(platform, receiver.url)
    async with platform.sender(at_once=1) as sender:
        await sender.send_due()
        await sender.idle()
        await sender.send_due()
        await sender.idle()
    assert len(receiver.got) == 1
    assert {row.state for row in await platform.rows("SELECT state FROM callbacks")} == {"disabled"}


async def test_a_receiver_that_hangs_or_drips_is_bounded_in_time(platform: Platform, receiver: Receiver) -> None:
    async def hang(_: web.Request) -> web.StreamResponse:
        await asyncio.sleep(30)
        return web.Response()

    async def drip(request: web.Request) -> web.StreamResponse:
        response = web.StreamResponse(status=500)
        await response.prepare(request)
        while True:
            await response.write(b".")
            await asyncio.sleep(0.1)

    receiver.answers = [hang, drip]
    await finished(platform, receiver.url)
    async with platform.sender(timeout_s=0.5) as sender:
        for _ in range(2):
            started = time.monotonic()
            await due_now(platform)
            await sender.send_due()
            await sender.idle()
            assert time.monotonic() - started < 1.5
            assert (await stands(platform)).last_error
    assert (await stands(platform)).attempts == 2


async def test_a_receivers_endless_body_is_not_read(platform: Platform, receiver: Receiver) -> None:
    written = 0

    async def flood(request: web.Request) -> web.StreamResponse:
        nonlocal written
        response = web.StreamResponse(status=500)
        await response.prepare(request)
        for _ in range(16_000):
            await response.write(bytes(65536))
            written += 65536
        return response

    receiver.answers = [flood]
    await finished(platform, receiver.url)
    async with platform.sender() as sender:
        await sender.send_due()
        await sender.idle()
        await asyncio.sleep(0.1)
    assert (await stands(platform)).last_status == 500
    assert written < 50_000_000


async def test_a_receiver_that_is_not_there_is_tried_again(platform: Platform) -> None:
    await finished(platform, "http://127.0.0.1:1025/x")
    async with platform.sender() as sender:
        await sender.send_due()
        await sender.idle()
    row = await stands(platform)
    assert (row.state, row.last_status) == ("pending", None)
    assert "ClientConnectorError" in row.last_error


async def test_no_attempt_is_spent_while_the_secret_cannot_be_asked_for(platform: Platform, receiver: Receiver) -> None:
    await finished(platform, receiver.url)

    class Away:
        async def callback_secrets(self, _: str) -> tuple[str, ...]:
            msg = "the gateway is away"
            raise Unavailable(msg)

    async with platform.sender() as sender:
        sender._gateway = Away()  # type: ignore[assignment]  # only asked for the secret
        await sender.send_due()
        await sender.idle()
    row = await stands(platform)
    assert (row.state, row.attempts) == ("pending", 0)
    assert not receiver.got


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
        await asyncio.wait_for(asked.wait(), 40)
        async with platform.db.transaction() as tx:
            await tx.session.execute(sa.text("SELECT 1 FROM callbacks FOR UPDATE"))  # nobody can record it
            locked.set()
            await platform.eventually(lambda: platform.rows(RECORDING), seconds=30)
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


async def test_a_private_address_is_not_called(platform: Platform, receiver: Receiver) -> None:
    await finished(platform, receiver.url)
    async with platform.sender(allow_private=False) as sender:
        await sender.send_due()
        await sender.idle()
    assert not receiver.got
    assert "not a public address" in (await stands(platform)).last_error


async def test_a_name_that_leads_inside_is_not_called() -> None:
    async def look_up(_host: str, _port: int, _family: int) -> list[tuple[int, str]]:
        return [(socket.AF_INET, "93.184.216.34"), (socket.AF_INET, "10.0.0.7")]

    with pytest.raises(CallbackAddressRefused):
        await CheckedResolver(Destinations(), look_up=look_up).resolve("two-faced.test", 80)


async def closing(_: web.Request) -> web.StreamResponse:
    return web.Response(status=204, headers={"connection": "close"})


async def test_what_was_checked_is_what_is_connected_to(receiver: Receiver) -> None:
    """A name that changes between the check and the connection cannot be: it is resolved once."""
    asked = 0
    port = int(receiver.url.split(":")[2].split("/")[0])

    async def look_up(_host: str, _port: int, _family: int) -> list[tuple[int, str]]:
        nonlocal asked
        asked += 1
        return [(socket.AF_INET, "127.0.0.1" if asked == 1 else "169.254.169.254")]

    inside = Destinations(allow_private=True)
    target = HttpCallbackTarget(inside, timeout_s=2, resolver=CheckedResolver(inside, look_up=look_up))
    await target.start()
    receiver.answers = [204, closing]
    try:
        first, second, third = [await target.post(f"http://rebound.test:{port}/x", b"{}", {}) for _ in range(3)]
    finally:
        await target.stop()
    assert (first.status, second.status) == (204, 204)  # the second one by the kept connection
    assert third.status is None
    assert "169.254.169.254 is not a public address" in third.error
    assert asked == 2
    assert receiver.got[0][0]["host"] == f"rebound.test:{port}"
