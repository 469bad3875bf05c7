"""The proxy engine: one request streamed to a connection, its answer streamed back. Raw ASGI.

A small request whose answer comes in one piece passes without a task, a generator or a timer of its
own; everything else is streamed both ways with back-pressure.
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Final

from algodock_common.upstream import CallerGone, UpstreamError
from algodock_gateway.domain import BodyTooLarge
from algodock_gateway.routes.headers import answer_headers

if TYPE_CHECKING:
    from starlette.types import Message, Receive, Send

    from algodock_common.upstream import Connection

__all__ = ["AnswerBroke", "Forwarded", "forward", "pass_answer"]

WATCH_AFTER_S: Final = 0.05
"""A call that takes longer is watched for its caller's leaving; shorter ones are not worth a task."""

UPLOAD_IDLE_S: Final = 60.0
"""Seconds after which a caller who stopped in the middle of a body is given up."""


class AnswerBroke(Exception):
    """The answer broke off after its head had gone to the caller: only the connection's end can say so."""


class _TooLargeOnTheWay(UpstreamError):
    """The body turned out to be past the limit while it was streamed."""


class Forwarded:
    """What passed: the status and the bytes in both directions."""

    __slots__ = ("received", "sent", "started", "status")

    def __init__(self) -> None:
        """Nothing passed yet."""
        self.status = 0
        self.received = 0
        self.sent = 0
        self.started = False


async def forward(  # noqa: PLR0913  # the two ends, and what is between them
    connection: Connection,
    head: bytes,
    first: Message,
    receive: Receive,
    send: Send,
    *,
    passed: Forwarded,
    method: str,
    chunked: bool,
    max_body: int,
    timeout_s: float,
) -> None:
    """Send ``head`` and the body on ``connection`` and the answer to the caller.

    ``first`` is the request's first ASGI message; the rest is received here. ``timeout_s`` bounds
    the wait for the answer's head once the request is sent, and for each next part of its body.
    ``chunked`` says that ``head`` announces a body in chunks; only where there is more to receive.

    Raises:
        UpstreamError: there was no answer, and the caller has got nothing yet.
        BodyTooLarge: the body is past ``max_body`` bytes, and the caller has got nothing yet.
        AnswerBroke: the answer broke off after its head had gone out.
    """
    connection.begin(head_only=method == "HEAD")
    body = first.get("body", b"")
    helper: asyncio.Task[None] | None = None
    passed.received = len(body)
    if first.get("more_body", False):
        connection.write(head)
        pump = _pump(connection, body, receive, passed, chunked=chunked, max_body=max_body, timeout_s=timeout_s)
        helper = asyncio.create_task(pump, name="request-body")
    else:
        connection.write(head + body)
        connection.request_done = True
        connection.expect_within(timeout_s)
    try:
        await pass_answer(connection, receive, send, passed=passed, timeout_s=timeout_s, helper=helper)
    except _TooLargeOnTheWay as error:
        raise BodyTooLarge(max_body) from error


async def pass_answer(
    connection: Connection,
    receive: Receive,
    send: Send,
    *,
    passed: Forwarded,
    timeout_s: float,
    helper: asyncio.Task[None] | None = None,
) -> None:
    """Send the answer to the caller as it comes, whose request is sent or on its way.

    ``helper`` is the task that sends the rest of the request and watches for the caller's leaving
    after; without one a watch is set once the call takes longer.

    Raises:
        UpstreamError: there was no answer, and the caller has got nothing yet.
        AnswerBroke: the answer broke off after its head had gone out.
    """
    watch: asyncio.TimerHandle | None = None

    def watch_caller() -> None:
        nonlocal helper
        helper = asyncio.create_task(_watch(connection, receive), name="caller-watch")

    try:
        if helper is None:
            watch = asyncio.get_running_loop().call_later(WATCH_AFTER_S, watch_caller)
        await connection.head()
        passed.status = connection.status
        passed.started = True
        await send(
            {
                "type": "http.response.start",
                "status": connection.status,
                "headers": answer_headers(connection.headers, connection.status),
            }
        )
        if connection.complete:
            body = connection.take()
            passed.sent = len(body)
            await send({"type": "http.response.body", "body": body})
            return
        if watch is not None:
            watch.cancel()
            watch = None
            if helper is None:
                watch_caller()
        await _stream(connection, send, passed, timeout_s)
    finally:
        if watch is not None:
            watch.cancel()
        if helper is not None:
            helper.cancel()


async def _stream(connection: Connection, send: Send, passed: Forwarded, timeout_s: float) -> None:
    """Send the body as it comes; no part of it waits for another."""
    try:
        while True:
            if connection.request_done:
                connection.expect_within(timeout_s)
            data = await connection.read()
            connection.relax()  # from here on it is the caller who may be slow
            more = bool(data) and not connection.complete
            passed.sent += len(data)
            await send({"type": "http.response.body", "body": data, "more_body": more})
            if not more:
                return
    except CallerGone:
        raise
    except UpstreamError as error:
        raise AnswerBroke(str(error)) from error


async def _pump(  # the two ends, and what is between them
    connection: Connection,
    body: bytes,
    receive: Receive,
    passed: Forwarded,
    *,
    chunked: bool,
    max_body: int,
    timeout_s: float,
) -> None:
    """Send the request's body as it comes, then watch for the caller's leaving."""
    try:
        more = True
        while True:
            if passed.received > max_body:
                connection.fail(_TooLargeOnTheWay("the body is too large"))
                return
            if body:
                connection.write(_framed(body) if chunked else body)
                connection.expect_within(timeout_s)  # an instance that takes nothing more is as silent as one
                await connection.drain()
                connection.relax()
            if not more:
                break
            async with asyncio.timeout(UPLOAD_IDLE_S):
                message = await receive()
            if message["type"] == "http.disconnect":
                connection.fail(CallerGone("the caller left while sending"))
                return
            body = message.get("body", b"")
            passed.received += len(body)
            more = message.get("more_body", False)
        if chunked:
            connection.write(b"0\r\n\r\n")
        connection.request_done = True
        if not connection.answering:
            connection.expect_within(timeout_s)
        await _watch(connection, receive)
    except UpstreamError:
        return  # whoever waits for the answer gets the same error
    except TimeoutError:
        connection.fail(CallerGone(f"the caller sent nothing for {UPLOAD_IDLE_S:g} s"))


async def _watch(connection: Connection, receive: Receive) -> None:
    while (await receive())["type"] != "http.disconnect":
        pass
    connection.fail(CallerGone("the caller left"))


def _framed(body: bytes) -> bytes:
    return b"%x\r\n%b\r\n" % (len(body), body) if body else b""
