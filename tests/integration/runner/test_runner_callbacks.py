"""Callbacks on real sockets: signed, repeated by their schedule, bounded, and never inside."""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime
from typing import TYPE_CHECKING, Any

import pytest
from aiohttp import web
from standardwebhooks.webhooks import Webhook

from algodock_common.errors import Unavailable

from .receiving import Receiver, due_now, finished, stands

if TYPE_CHECKING:
    from .conftest import Platform

NEW = "whsec_bmV3LW5ldy1uZXctbmV3LW5ldy1uZXc="
SECRET = "whsec_c2VjcmV0LXNlY3JldC1zZWNyZXQtMTIzNA=="


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


async def test_gone_disables_all_that_is_pending_for_the_address(platform: Platform, receiver: Receiver) -> None:
    receiver.answers = [410]
    await finished(platform, receiver.url)
    await finished(platform, receiver.url)
    later = await finished(platform, receiver.url)
    await platform.change("UPDATE callbacks SET next_at = now() + interval '9 h' WHERE task_id = :id", id=later)
    async with platform.sender(at_once=1) as sender:
        await sender.send_due()
        await sender.idle()
        await sender.send_due()
        await sender.idle()
    assert len(receiver.got) == 1
    assert {row.state for row in await platform.rows("SELECT state FROM callbacks")} == {"disabled"}


async def test_a_receiver_that_hangs_or_drips_is_bounded_in_time(platform: Platform, receiver: Receiver) -> None:
    async def hang(_: web.Request) -> web.StreamResponse:
        await asyncio.sleep(600)
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
            await due_now(platform)
            async with asyncio.timeout(60):
                await sender.send_due()
                await sender.idle()
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
