"""Callbacks as their owners see them: the log, the lists, having them sent again, disabled addresses."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any
from uuid import UUID, uuid4

import httpx
import pytest
from aiohttp import web
from fastapi import FastAPI

from algodock_common.settings import SecretSettings
from algodock_common.web import IDENTITY_HEADER, Identity, new_identity_keys, sign_identity
from algodock_runner.domain.callback_views import CallbackFilter, EnableRequest, RedeliverRequest
from algodock_runner.domain.errors import CallbackNotDue, CallbackTargetDisabled, NoCallback
from algodock_runner.handlers.callbacks import CallbackDesk
from algodock_runner.routes.callbacks import router

from .receiving import Receiver, delivered, due_now, finished

if TYPE_CHECKING:
    from .conftest import Platform

OWNER = "key-1"


@pytest.fixture
def desk(platform: Platform) -> CallbackDesk:
    return CallbackDesk(platform.db)


async def test_each_delivery_is_in_the_log(platform: Platform, receiver: Receiver, desk: CallbackDesk) -> None:
    receiver.answers = [(500, "out of \0 order"), 204]
    id_ = await finished(platform, receiver.url)
    before = await desk.get(id_, owner=OWNER)
    assert (before.state, before.attempts, before.deliveries) == ("pending", 0, [])
    assert before.webhook_id == f"msg_{id_.hex}"
    await delivered(platform)
    await due_now(platform)
    await delivered(platform)
    found = await desk.get(id_, owner=OWNER)
    assert (found.state, found.attempts, found.last_status, found.next_at) == ("delivered", 2, 204, None)
    second, first = found.deliveries
    assert (first.attempt, first.status, first.answer) == (1, 500, "out of \ufffd order")
    assert first.error == "HTTP 500: out of \ufffd order"
    assert first.next_at
    assert 4 < (first.next_at - first.started_at).total_seconds() < 8
    assert (second.attempt, second.status, second.error, second.next_at) == (2, 204, None, None)
    assert 0 < first.duration_ms < 2000


async def test_the_log_of_one_callback_is_bounded(platform: Platform, receiver: Receiver, desk: CallbackDesk) -> None:
    receiver.answers = [500] * 5
    id_ = await finished(platform, receiver.url)
    for _ in range(5):
        await delivered(platform, log_rows=3)
        await due_now(platform)
    assert [one.attempt for one in (await desk.get(id_, owner=OWNER)).deliveries] == [5, 4, 3]


async def test_what_is_not_there_or_another_owners_is_not_found(platform: Platform, desk: CallbackDesk) -> None:
    without = await platform.submit(input=1)
    with_one = await finished(platform, "http://127.0.0.1:1025/")
    for id_, owner in ((without.id, OWNER), (uuid4(), OWNER), (with_one, "key-2")):
        with pytest.raises(NoCallback):
            await desk.get(id_, owner=owner)
    assert (await desk.get(with_one, owner=None)).url == "http://127.0.0.1:1025/"


async def test_a_callback_is_sent_again_with_the_same_id_and_a_new_schedule(
    platform: Platform, receiver: Receiver, desk: CallbackDesk
) -> None:
    receiver.answers = [500] * 7
    id_ = await finished(platform, receiver.url)
    for _ in range(7):
        await delivered(platform)
        await due_now(platform)
    assert (await desk.get(id_, owner=OWNER)).state == "failed"
    receiver.answers = [500]
    assert (await desk.redeliver(id_, owner=OWNER)).state == "pending"
    await delivered(platform)
    again = await desk.get(id_, owner=OWNER)
    assert (again.state, again.attempts) == ("pending", 8)  # the first of its new round
    assert again.next_at
    assert again.next_at - datetime.now(UTC) < timedelta(seconds=7)
    await due_now(platform)
    await delivered(platform)
    assert (await desk.get(id_, owner=OWNER)).state == "delivered"
    await desk.redeliver(id_, owner=OWNER)  # one that was taken, too
    await delivered(platform)
    assert len(receiver.got) == 10
    assert len({headers["webhook-id"] for headers, _ in receiver.got}) == 1


async def test_a_callback_of_a_task_that_has_not_ended_is_not_sent(platform: Platform, desk: CallbackDesk) -> None:
    view = await platform.submit(input=1, callback_url="http://127.0.0.1:1025/")
    with pytest.raises(CallbackNotDue):
        await desk.redeliver(view.id, owner=OWNER)


async def test_what_is_on_its_way_is_not_sent_twice(platform: Platform, receiver: Receiver, desk: CallbackDesk) -> None:
    told = asyncio.Event()

    async def wait(_: web.Request) -> web.StreamResponse:
        await told.wait()
        return web.Response(status=204)

    receiver.answers = [wait]
    id_ = await finished(platform, receiver.url)
    async with platform.sender(timeout_s=20) as sender:
        await sender.send_due()
        await desk.redeliver(id_, owner=OWNER)
        assert await sender.send_due() == 0
        told.set()
        await sender.idle()
    assert (len(receiver.got), (await desk.get(id_, owner=OWNER)).state) == (1, "delivered")


async def test_failed_ones_are_listed_by_page_and_sent_again_by_filter(
    platform: Platform, receiver: Receiver, desk: CallbackDesk
) -> None:
    began = datetime.now(UTC)
    ids = [await finished(platform, receiver.url) for _ in range(5)]
    other = await finished(platform, receiver.url + "/other")
    foreign = await finished(platform, receiver.url, owner="key-2")
    await platform.change("UPDATE callbacks SET state = 'failed', attempts = 7, ended_at = now()")
    first = await desk.page(CallbackFilter(owner=OWNER, state="failed", url=receiver.url, limit=3))
    rest = await desk.page(CallbackFilter(owner=OWNER, state="failed", url=receiver.url, after=first[-1].task_id))
    assert [one.task_id for one in (*first, *rest)] == ids[::-1]
    assert {one.task_id for one in await desk.page(CallbackFilter(owner=OWNER))} == {*ids, other}
    assert not await desk.page(CallbackFilter(owner=OWNER, algorithm="slow"))
    assert not await desk.page(CallbackFilter(owner=OWNER, until=began))
    assert len(await desk.page(CallbackFilter(since=began))) == 7

    request = RedeliverRequest(url=receiver.url, limit=3)
    done = [await desk.redeliver_many(request, owner=OWNER) for _ in range(3)]
    assert [(one.redelivered, one.more) for one in done] == [(3, True), (2, False), (0, False)]
    await delivered(platform)
    assert {UUID(headers["webhook-id"][4:]) for headers, _ in receiver.got} == set(ids)
    assert (await desk.get(foreign, owner=None)).state == "failed"


async def test_an_address_that_is_gone_gets_nothing_until_it_is_enabled(
    platform: Platform, receiver: Receiver, desk: CallbackDesk
) -> None:
    receiver.answers = [410]
    first = await finished(platform, receiver.url)
    await delivered(platform)
    later = await finished(platform, receiver.url)  # of a task that knows nothing of it
    neighbour = await finished(platform, receiver.url + "/other")
    foreign = await finished(platform, receiver.url, owner="key-2")
    platform.gateway.secrets["key-2"] = platform.gateway.secrets[OWNER]
    await delivered(platform)
    states = {id_: (await desk.get(id_, owner=None)).state for id_ in (first, later, neighbour, foreign)}
    assert states == {first: "disabled", later: "disabled", neighbour: "delivered", foreign: "delivered"}
    assert {UUID(headers["webhook-id"][4:]) for headers, _ in receiver.got} == {first, neighbour, foreign}
    stands = await desk.get(later, owner=OWNER)
    assert (stands.attempts, stands.last_error) == (0, "the address answered 410 (gone) and is disabled")
    (target,) = await desk.disabled(owner=OWNER)
    assert (target.url, target.reason) == (receiver.url, stands.last_error)
    assert not await desk.disabled(owner="key-2")

    with pytest.raises(CallbackTargetDisabled, match="/api/v1/callbacks/enable"):
        await desk.redeliver(later, owner=OWNER)
    assert (await desk.redeliver_many(RedeliverRequest(state="disabled"), owner=OWNER)).redelivered == 0
    assert not (await desk.enable(EnableRequest(url=receiver.url), owner="key-2")).was_disabled
    done = await desk.enable(EnableRequest(url=receiver.url, redeliver=True), owner=OWNER)
    assert (done.was_disabled, done.redelivered, done.more) == (True, 2, False)
    await delivered(platform)
    assert {(await desk.get(id_, owner=OWNER)).state for id_ in (first, later)} == {"delivered"}
    assert not (await desk.enable(EnableRequest(url=receiver.url), owner=OWNER)).was_disabled


async def test_one_that_is_delivered_while_its_address_is_disabled_is_delivered(
    platform: Platform, receiver: Receiver
) -> None:
    receiver.answers = [410, 204]
    await finished(platform, receiver.url)
    await finished(platform, receiver.url)
    await delivered(platform)
    rows = await platform.rows("SELECT state, count(*) AS n FROM callbacks GROUP BY state")
    assert {row.state: row.n for row in rows} == {"disabled": 1, "delivered": 1}


@pytest.fixture
async def http(desk: CallbackDesk) -> AsyncIterator[httpx.AsyncClient]:
    private, public = new_identity_keys()
    secrets = SecretSettings(secret_key="s" * 40, identity_public_key=public)
    app = FastAPI()
    app.include_router(router)
    app.state.callbacks, app.state.settings = desk, type("S", (), {"secrets": secrets})()
    headers = {IDENTITY_HEADER: sign_identity(Identity(OWNER, "me", ("user",)), private)}
    async with httpx.AsyncClient(
        transport=httpx.ASGITransport(app=app), base_url="http://runner", headers=headers
    ) as client:
        yield client


async def test_over_http(platform: Platform, receiver: Receiver, http: httpx.AsyncClient) -> None:
    id_ = await finished(platform, receiver.url)
    await finished(platform, receiver.url, owner="key-2")
    assert (await http.get(f"/internal/tasks/{id_}/callback")).json()["webhook_id"] == f"msg_{id_.hex}"
    listed = (await http.get("/internal/callbacks", params={"state": "pending", "limit": 1})).json()
    assert ([one["task_id"] for one in listed["callbacks"]], listed["next"]) == ([str(id_)], str(id_))
    answer = await http.post(f"/internal/tasks/{id_}/callback/redeliver")
    assert (answer.status_code, answer.json()["state"]) == (202, "pending")
    assert (await http.post("/internal/callbacks/redeliver", json={})).json() == {"redelivered": 0, "more": False}
    assert (await http.get("/internal/callbacks/disabled")).json() == {"disabled": []}
    enabled = (await http.post("/internal/callbacks/enable", json={"url": receiver.url})).json()
    assert enabled == {"url": receiver.url, "was_disabled": False, "redelivered": 0, "more": False}


@pytest.mark.parametrize(
    ("path", "bad"),
    [
        ("/callbacks", {"state": "lost"}),
        ("/callbacks", {"limit": 0}),
        ("/callbacks", {"since": "yesterday"}),
        ("/callbacks", {"url": "\0"}),
        ("/callbacks/redeliver", {"state": "lost"}),
        ("/callbacks/redeliver", {"limit": 1001}),
        ("/callbacks/redeliver", {"sinse": "2026-01-01T00:00:00Z"}),
        ("/callbacks/redeliver", {"since": "2026-01-01T00:00:00"}),
        ("/callbacks/enable", {}),
        ("/callbacks/enable", {"url": "a\0"}),
    ],
)
async def test_bad_requests_are_422(http: httpx.AsyncClient, path: str, bad: dict[str, Any]) -> None:
    if path == "/callbacks":
        answer = await http.get("/internal" + path, params=bad)
    else:
        answer = await http.post("/internal" + path, json=bad)
    assert answer.status_code == 422
