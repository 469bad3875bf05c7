"""Receivers of callbacks that misbehave, byte by byte on real sockets: each is bounded, none holds up the others."""

from __future__ import annotations

import asyncio
import contextlib
import socket
import ssl
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from .receiving import Receiver, delivered, due_now, finished, serving, stands

if TYPE_CHECKING:
    from .conftest import Platform

Conversation = Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]


class Hostile:
    """A server that reads each request to its end and then does what it was told; ``ids`` are what it was sent."""

    def __init__(self, conversation: Conversation) -> None:
        self.conversation = conversation
        self.ids: list[bytes] = []
        self.closed = asyncio.Event()
        self.open = 0
        self.most_open = 0
        self.url = ""

    async def take(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.open += 1
        self.most_open = max(self.most_open, self.open)
        try:
            while True:
                head = await reader.readuntil(b"\r\n\r\n")
                headers = dict(line.lower().split(b": ", 1) for line in head.split(b"\r\n")[1:] if line)
                await reader.readexactly(int(headers[b"content-length"]))
                self.ids.append(headers[b"webhook-id"])
                await self.conversation(reader, writer)
        except (asyncio.IncompleteReadError, ConnectionError):
            self.closed.set()
        finally:
            self.open -= 1
            writer.close()


@asynccontextmanager
async def hostile(conversation: Conversation, *, tls: ssl.SSLContext | None = None) -> AsyncIterator[Hostile]:
    one = Hostile(conversation)
    server = await asyncio.start_server(one.take, "127.0.0.1", 0, ssl=tls)
    one.url = f"http{'s' if tls else ''}://127.0.0.1:{server.sockets[0].getsockname()[1]}/done"
    try:
        yield one
    finally:
        server.close()


async def wait_for_the_end(reader: asyncio.StreamReader, _: asyncio.StreamWriter) -> None:
    """Say nothing until the other side closes."""
    await reader.readexactly(1)


def says(data: bytes) -> Conversation:
    async def conversation(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(data)
        await writer.drain()

    return conversation


async def tried_twice(platform: Platform, target: Hostile, *, within_s: float = 20, **settings: Any) -> Any:
    """Deliver twice; each try is bounded in time, and both carry the same id."""
    id_ = await finished(platform, target.url)
    for _ in range(2):
        began = time.monotonic()
        await delivered(platform, **settings)
        assert time.monotonic() - began < within_s
        await due_now(platform)
    row = await stands(platform)
    assert (row.state, row.attempts) == ("pending", 2)
    assert set(target.ids) <= {b"msg_" + id_.hex.encode()}
    return row


async def test_one_that_fails(platform: Platform) -> None:
    async with hostile(says(b"HTTP/1.1 500 Oh\r\ncontent-length: 4\r\n\r\nNope")) as target:
        row = await tried_twice(platform, target)
    assert (row.last_status, row.last_error, len(target.ids)) == (500, "HTTP 500: Nope", 2)


async def test_one_that_accepts_and_says_nothing(platform: Platform) -> None:
    async with hostile(wait_for_the_end) as target:
        row = await tried_twice(platform, target, timeout_s=0.4, within_s=20)
        async with asyncio.timeout(60):
            await target.closed.wait()
    assert (row.last_status, row.last_error) == (None, "no answer within 0.4 s")
    assert len(target.ids) == 2


async def test_one_that_does_not_even_accept(platform: Platform) -> None:
    with socket.socket() as full:
        full.bind(("127.0.0.1", 0))
        full.listen(0)
        waiting = [socket.socket() for _ in range(4)]
        for one in waiting:  # they fill its backlog: what comes then hangs in the handshake
            one.setblocking(False)  # noqa: FBT003  # its name
            with contextlib.suppress(BlockingIOError):
                one.connect(full.getsockname())
        await finished(platform, f"http://127.0.0.1:{full.getsockname()[1]}/")
        began = time.monotonic()
        await delivered(platform, timeout_s=0.4)
        assert time.monotonic() - began < 20
        for one in waiting:
            one.close()
    assert (await stands(platform)).last_error == "no answer within 0.4 s"


async def test_one_that_redirects_inside(platform: Platform, receiver: Receiver) -> None:
    to = receiver.url.encode()
    async with hostile(
        says(b"HTTP/1.1 301 Over there\r\nlocation: " + to + b"\r\ncontent-length: 0\r\n\r\n")
    ) as target:
        row = await tried_twice(platform, target)
    assert row.last_status == 301
    assert not receiver.got


@pytest.mark.parametrize("beginning", [b"", b"HTTP/1.1 200 OK\r\nx-drip: "])
async def test_one_that_drips_its_head(platform: Platform, beginning: bytes) -> None:
    async def drip(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(beginning)
        while True:
            writer.write(b"H")
            await writer.drain()
            await asyncio.sleep(0.05)

    async with hostile(drip) as target:
        row = await tried_twice(platform, target, timeout_s=0.5, within_s=20)
    assert row.last_status is None


async def test_one_that_drips_its_body_has_answered(platform: Platform) -> None:
    async def drip(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(b"HTTP/1.1 500 Oh\r\ncontent-length: 1000\r\n\r\nslow")
        while True:
            await writer.drain()
            await asyncio.sleep(0.05)
            writer.write(b".")

    async with hostile(drip) as target:
        row = await tried_twice(platform, target, timeout_s=30, within_s=20)
    assert row.last_status == 500
    assert row.last_error.startswith("HTTP 500: slow")


@pytest.mark.parametrize("status", [b"200", b"500"])
async def test_one_that_answers_a_gigabyte(platform: Platform, status: bytes) -> None:
    written = 0

    async def flood(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        nonlocal written
        writer.write(b"HTTP/1.1 " + status + b" X\r\ncontent-length: 1073741824\r\n\r\n")
        for _part in range(16_384):
            writer.write(bytes(65_536))
            await writer.drain()
            written += 65_536

    async with hostile(flood) as target:
        await finished(platform, target.url)
        async with platform.sender() as sender:
            await sender.send_due()
            await sender.idle()
            async with asyncio.timeout(60):
                await target.closed.wait()  # the connection is closed, not read on
    assert (await stands(platform)).last_status == int(status)
    assert written < 20_000_000
    (log,) = await platform.rows("SELECT length(answer) AS n FROM callback_deliveries")
    assert log.n <= 1000


@pytest.mark.parametrize("one", [b"x-%d: " + 9000 * b"y", b"x-%d: y"], ids=["long", "many"])
async def test_one_that_floods_with_headers(platform: Platform, one: bytes) -> None:
    written = 0

    async def flood(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        nonlocal written
        writer.write(b"HTTP/1.1 200 OK\r\n")
        for number in range(1000):
            lines = b"".join(one % other + b"\r\n" for other in range(1000 * number, 1000 * number + 1000))
            writer.write(lines)
            await writer.drain()
            written += len(lines)

    async with hostile(flood) as target:
        row = await tried_twice(platform, target)
    assert row.last_status is None
    assert written < 20_000_000  # what the sockets and both sides hold


async def test_one_that_resets_the_connection_before_its_answer_is_whole(platform: Platform) -> None:
    async def reset(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(b"HTTP/1.1 200 OK\r\nx-half: ")
        await writer.drain()
        abort(writer)

    async with hostile(reset) as target:
        row = await tried_twice(platform, target)
    assert (row.last_status, len(target.ids)) == (None, 2)


async def test_one_that_resets_it_after_its_status_has_taken_the_callback(platform: Platform) -> None:
    async def reset(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(b"HTTP/1.1 200 OK\r\ncontent-length: 100\r\n\r\nhalf")
        await writer.drain()
        await asyncio.sleep(0.05)  # or the reset overtakes the head
        abort(writer)

    async with hostile(reset) as target:
        await finished(platform, target.url)
        await delivered(platform)
    row = await stands(platform)
    assert (row.state, row.last_status, row.last_error) == ("delivered", 200, None)


def abort(writer: asyncio.StreamWriter) -> None:
    """Close with RST."""
    raw = writer.get_extra_info("socket")
    raw.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\x01\0\0\0\0\0\0\0")
    writer.transport.abort()


async def test_one_that_closed_a_kept_connection_is_asked_on_another_at_once(platform: Platform) -> None:
    async def answer_and_close_late(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(b"HTTP/1.1 204 Yes\r\n\r\n")
        await reader.readexactly(1)  # the next request on this connection gets none
        abort(writer)
        raise ConnectionResetError

    async with hostile(answer_and_close_late) as target, platform.sender() as sender:
        for _ in range(2):
            await finished(platform, target.url)
            await sender.send_due()
            await sender.idle()
    rows = await platform.rows("SELECT DISTINCT state, attempts FROM callbacks")
    assert [tuple(row) for row in rows] == [("delivered", 1)]


@pytest.mark.parametrize(
    "said", [b"SSH-2.0-OpenSSH_9.2\r\n", b"\0" * 100, b"HTTP/1.1 999999 X\r\n\r\n"], ids=["ssh", "zeros", "status"]
)
async def test_one_that_speaks_no_http(platform: Platform, said: bytes) -> None:
    async with hostile(says(said)) as target:
        row = await tried_twice(platform, target)
    assert row.last_status is None
    assert "\0" not in row.last_error


async def test_one_whose_certificate_nobody_knows(platform: Platform, certificate: ssl.SSLContext) -> None:
    async with hostile(says(b"HTTP/1.1 204 Yes\r\n\r\n"), tls=certificate) as target:
        row = await tried_twice(platform, target)
    assert "CertificateError" in row.last_error
    assert not target.ids  # nothing was sent to a stranger


async def test_one_that_speaks_no_tls(platform: Platform) -> None:
    async def plain(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(b"HTTP/1.1 204 Yes\r\n\r\n")
        await writer.drain()
        writer.close()

    target = Hostile(wait_for_the_end)
    async with await asyncio.start_server(plain, "127.0.0.1", 0) as server:
        target.url = f"https://127.0.0.1:{server.sockets[0].getsockname()[1]}/"
        row = await tried_twice(platform, target)
    assert "SSL" in row.last_error


async def test_one_at_a_private_address(platform: Platform, receiver: Receiver) -> None:
    await finished(platform, receiver.url)
    await delivered(platform, allow_private=False)
    row = await stands(platform)
    assert (row.state, row.last_error) == ("pending", "callback_url: 127.0.0.1 is not a public address")
    assert not receiver.got


async def test_one_in_an_allowed_network(platform: Platform, receiver: Receiver) -> None:
    await finished(platform, receiver.url)
    await delivered(platform, allow_private=False, allowed_networks="127.0.0.0/8")
    assert len(receiver.got) == 1


async def test_those_that_hang_do_not_hold_up_the_others(platform: Platform) -> None:
    """Sixty callbacks wait for a receiver that hangs; one for another leaves at once, and all after it."""
    times: list[float] = []

    async def take(request: Any) -> Any:
        from aiohttp import web

        await request.read()
        times.append(time.monotonic())
        return web.Response(status=204)

    async with hostile(wait_for_the_end) as hanging, serving(take) as url:
        for target in [hanging.url] * 60 + [url] * 30:
            await finished(platform, target)
        later = "UPDATE callbacks SET next_at = next_at + make_interval(secs => :s) WHERE url = :url"
        await platform.change(later, url=url, s=3600)
        async with platform.sender(at_once=8, timeout_s=4) as sender:
            await sender.start()
            await platform.eventually(lambda: _number(len(hanging.ids)))
            await platform.change(later, url=url, s=-3600)
            began = time.monotonic()
            sender.wake()
            await platform.eventually(lambda: _number(len(times) == 30), seconds=60)
    assert times[-1] - began < 4  # without the bound all eight senders would be waiting for so long
    assert hanging.most_open <= 2


async def _number(value: object) -> object:
    return value


@pytest.fixture(scope="session")
def certificate(tmp_path_factory: pytest.TempPathFactory) -> ssl.SSLContext:
    """A server's TLS whose certificate it signed itself."""
    import ipaddress

    from cryptography import x509
    from cryptography.hazmat.primitives import hashes, serialization
    from cryptography.hazmat.primitives.asymmetric import ec

    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "127.0.0.1")])
    now = datetime.now(UTC)
    made = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(1)
        .not_valid_before(now - timedelta(days=1))
        .not_valid_after(now + timedelta(days=1))
        .add_extension(x509.SubjectAlternativeName([x509.IPAddress(ipaddress.ip_address("127.0.0.1"))]), critical=False)
        .sign(key, hashes.SHA256())
    )
    file: Path = tmp_path_factory.mktemp("tls") / "both.pem"
    pem = serialization.Encoding.PEM
    plain = serialization.NoEncryption()
    file.write_bytes(key.private_bytes(pem, serialization.PrivateFormat.PKCS8, plain) + made.public_bytes(pem))
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(file)
    return context
