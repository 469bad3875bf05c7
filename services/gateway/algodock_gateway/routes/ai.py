"""``/ai/<name>/<path>``: the hot path, raw ASGI beside FastAPI. Key, route, slot, instance, stream, record."""

from __future__ import annotations

from contextlib import nullcontext
from typing import TYPE_CHECKING, Final, NamedTuple

from algodock_common.errors import AlgoDockError
from algodock_common.observability import current_trace_id, current_traceparent, span
from algodock_common.upstream import AnswerTooLate, CallerGone, UpstreamError
from algodock_common.web import problem_response, unexpected_error
from algodock_gateway.domain import AnswerOverdue, BodyTooLarge, InstanceFailed, KeyRefused
from algodock_gateway.domain.keys import bearer
from algodock_gateway.routes.call import PREFIX, Call
from algodock_gateway.routes.forward import AnswerBroke, forward, pass_answer
from algodock_gateway.routes.headers import body_length_of, declared_length, request_head

if TYPE_CHECKING:
    from collections.abc import Awaitable

    from starlette.types import Message, Receive, Scope, Send

    from algodock_common.observability import SpanHandle
    from algodock_common.routing import Instance, Route
    from algodock_common.upstream import Connection
    from algodock_gateway.domain.gate import Gate
    from algodock_gateway.handlers.call_book import CallBook
    from algodock_gateway.handlers.calls import CallDesk
    from algodock_gateway.handlers.key_ring import KeyRing
    from algodock_gateway.routes.prefer import PreferInlet

__all__ = ["BEGUN_SPAN", "AiInlet", "SentCall"]

BEGUN_SPAN: Final = "algodock.span"
"""Where in a request's ``state`` a span stands that was begun before the inlet was called."""
CALLER_GONE: Final = 499
"""The status in metrics and records of a call whose caller left; nobody receives it."""

_SERVER_ERROR: Final = 500


class SentCall(NamedTuple):
    """A call whose request has been sent: what it holds until its answer has passed."""

    call: Call
    span: SpanHandle
    route: Route
    gate: Gate
    instance: Instance
    connection: Connection


class AiInlet:
    """The ASGI application behind ``/ai/``."""

    def __init__(  # what it joins
        self,
        keys: KeyRing,
        desk: CallDesk,
        book: CallBook,
        *,
        prefer: PreferInlet | None = None,
        proxies: frozenset[str] = frozenset(),
    ) -> None:
        """Join the handlers; ``prefer`` takes the calls that shall become tasks.

        ``proxies`` are addresses of trusted edges in front of the gateway.
        """
        self._prefer = prefer
        self.proxies = proxies
        self.keys = keys
        self.desk = desk
        self.book = book

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one call."""
        call = Call()
        traceparent = key = length = None
        for name, value in scope["headers"]:
            if name == b"authorization":
                key = bearer(value)
            elif name == b"traceparent":
                traceparent = value.decode("latin-1")
            elif name == b"content-length":
                length = value
            elif name == b"prefer" and self._prefer is not None and await self._prefer.took(scope, receive, send):
                return  # it became a task
        handle: SpanHandle | None = scope["state"].get(BEGUN_SPAN) if "state" in scope else None
        if handle is None:
            handle = span("ai", parent=traceparent, kind="server")
        with handle:
            work = self._serve(call, handle, key, declared_length(length), scope, receive, send)
            await self._answered(call, handle, work, scope, receive, send)

    async def go_on(self, sent: SentCall, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve the rest of a call whose request has been sent: its answer has to be waited for, or streamed."""
        with sent.span:
            await self._answered(sent.call, sent.span, self._finish(sent, receive, send), scope, receive, send)

    async def _answered(  # one call's parts
        self,
        call: Call,
        handle: SpanHandle,
        work: Awaitable[None],
        scope: Scope,
        receive: Receive,
        send: Send,
    ) -> None:
        """Await ``work``; whatever it raises becomes an answer, and everything a record."""
        try:
            await work
        except CallerGone:
            call.status, call.error = CALLER_GONE, "caller-gone"
        except AnswerBroke:
            # Returning with the answer unfinished makes the server end the connection.
            call.status, call.error = call.passed.status, "answer-broke"
        except Exception as error:  # noqa: BLE001  # the last resort of a raw inlet: whatever it is, a problem document
            problem = _problem_for(error, call.name, scope["path"])
            call.status, call.error = problem.status, problem.code
            if call.passed.started:
                return
            await problem_response(problem, instance=scope["path"])(scope, receive, send)
        finally:
            if handle.recording:
                _describe(handle, scope, call)
            self.book.note(call.record(scope["method"]))

    async def _serve(  # one call's parts
        self,
        call: Call,
        handle: SpanHandle,
        key: bytes | None,
        length: int | None,
        scope: Scope,
        receive: Receive,
        send: Send,
    ) -> None:
        call.key = (self.keys.known(key) if key is not None else None) or await self.keys.find(key)
        if call.key is None:
            raise KeyRefused
        route = await self.desk.route(call.address(scope["raw_path"]))
        call.name, call.algorithm = route.algorithm, route.algorithm_id
        limits = route.limits
        if length is not None and length > limits.max_body_bytes:
            raise BodyTooLarge(limits.max_body_bytes)
        first = await receive()
        if first["type"] == "http.disconnect":
            raise CallerGone("the caller left before its request was whole")
        more = first.get("more_body", False)
        if len(first.get("body", b"")) > limits.max_body_bytes:
            raise BodyTooLarge(limits.max_body_bytes)
        gate = await self.desk.enter(route, None if more else receive)
        try:
            await self._call_instance(call, handle, route, first, length, scope, receive, send)
        finally:
            gate.leave(route.limits.concurrency)

    async def _call_instance(  # as above
        self,
        call: Call,
        handle: SpanHandle,
        route: Route,
        first: Message,
        length: int | None,
        scope: Scope,
        receive: Receive,
        send: Send,
    ) -> None:
        instance, connection = await self.desk.connect(route)
        call.instance = instance
        try:
            more = first.get("more_body", False)
            body_length = length if more else body_length_of(first, length, scope["method"])
            with span(f"call {call.name}", kind="client") if handle.recording else nullcontext(handle) as sending:
                head = request_head(
                    scope,
                    connection.origin,
                    target=call.target(scope["query_string"]),
                    length=body_length,
                    prefix=PREFIX + call.name.encode("ascii"),
                    traceparent=current_traceparent() if sending.recording else None,
                    proxies=self.proxies,
                )
                await forward(
                    connection,
                    head,
                    first,
                    receive,
                    send,
                    passed=call.passed,
                    method=scope["method"],
                    chunked=body_length is None,
                    max_body=route.limits.max_body_bytes,
                    timeout_s=instance.limits.timeout_s,
                )
            call.status = call.passed.status
        except AnswerTooLate as error:
            raise AnswerOverdue(call.name, instance.limits.timeout_s) from error
        finally:
            self.desk.done(instance, connection)

    async def _finish(self, sent: SentCall, receive: Receive, send: Send) -> None:
        call, limits = sent.call, sent.instance.limits
        try:
            await pass_answer(sent.connection, receive, send, passed=call.passed, timeout_s=limits.timeout_s)
            call.status = call.passed.status
        except AnswerTooLate as error:
            raise AnswerOverdue(call.name, limits.timeout_s) from error
        finally:
            self.desk.done(sent.instance, sent.connection)
            sent.gate.leave(sent.route.limits.concurrency)


def _problem_for(error: Exception, name: str, path: str) -> AlgoDockError:
    """Return what the caller reads of ``error``."""
    if isinstance(error, AlgoDockError):
        return error
    if isinstance(error, UpstreamError):
        return InstanceFailed(name)
    return unexpected_error(error, path=path)


def _describe(handle: SpanHandle, scope: Scope, call: Call) -> None:
    call.trace_id = current_trace_id()
    handle.link(call.instance.trace if call.instance is not None else None)
    handle.name = f"{scope['method']} /ai/{call.name or '<unknown>'}"
    handle.set(
        http__request__method=scope["method"],
        http__route="/ai/{name}/{path}",
        http__response__status_code=call.status,
        url__path=scope["path"],
        algodock__algorithm=call.name,
        algodock__release_id=str(call.instance.release_id) if call.instance and call.instance.release_id else None,
    )
    if call.status >= _SERVER_ERROR:
        handle.fail(f"HTTP {call.status}")
