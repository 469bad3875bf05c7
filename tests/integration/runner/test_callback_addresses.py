"""Where callbacks may go, told by real connections: what was checked is what is connected to."""

from __future__ import annotations

import socket
from typing import TYPE_CHECKING

import pytest
from aiohttp import web

from algodock_runner.clients.callback_target import CheckedResolver, HttpCallbackTarget
from algodock_runner.domain.addresses import Destination, Destinations
from algodock_runner.domain.errors import CallbackAddressRefused

from .receiving import Receiver, finished, stands

if TYPE_CHECKING:
    from .conftest import Platform


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


@pytest.mark.parametrize(("more", "says"), [(0, "127.0.0.1 is not a public address"), (1, "in two ways")])
async def test_what_the_client_reads_is_checked_also_where_the_check_read_something_else(
    receiver: Receiver, monkeypatch: pytest.MonkeyPatch, more: int, says: str
) -> None:
    """Two readers of one URL may differ, and the client's is the one that is connected to."""
    port = int(receiver.url.split(":")[2].split("/")[0])
    monkeypatch.setattr(Destinations, "check_url", lambda *_: Destination("http", "public.test", port + more))
    target = HttpCallbackTarget(Destinations(), timeout_s=20)
    await target.start()
    try:
        answer = await target.post(receiver.url, b"{}", {})
    finally:
        await target.stop()
    assert answer.status is None
    assert says in answer.error
    assert not receiver.got


async def test_no_proxy_stands_between_the_check_and_the_receiver(
    receiver: Receiver, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It would look the name up again, and connect to whatever it finds."""
    for name in ("no_proxy", "NO_PROXY"):
        monkeypatch.delenv(name, raising=False)
    for name in ("http_proxy", "HTTP_PROXY", "all_proxy", "ALL_PROXY"):
        monkeypatch.setenv(name, "http://127.0.0.1:9")
    target = HttpCallbackTarget(Destinations(allow_private=True), timeout_s=20)
    await target.start()
    try:
        answer = await target.post(receiver.url, b"{}", {})
    finally:
        await target.stop()
    assert (answer.status, len(receiver.got)) == (204, 1)


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
