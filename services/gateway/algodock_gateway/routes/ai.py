"""``/ai/<name>/<path>``: the hot path, raw ASGI beside FastAPI. Key, route, slot, instance, stream, record."""

from __future__ import annotations

import time
from contextlib import nullcontext
from typing import TYPE_CHECKING, Final

from algodock_common.errors import AlgoDockError
from algodock_common.observability import current_trace_id, current_traceparent, span
from algodock_common.web import problem_response, unexpected_error
from algodock_gateway.clients.upstream import AnswerTooLate, CallerGone, UpstreamError
from algodock_gateway.domain import AnswerOverdue, BodyTooLarge, InstanceFailed, KeyRefused
from algodock_gateway.domain.call import CallRecord
from algodock_gateway.domain.keys import bearer
from algodock_gateway.routes.forward import AnswerBroke, Forwarded, forward
from algodock_gateway.routes.headers import body_length_of, declared_length, request_head

if TYPE_CHECKING:
    from uuid import UUID

    from starlette.types import Message, Receive, Scope, Send

    from algodock_common.observability import SpanHandle
    from algodock_common.routing import Instance, Route
    from algodock_gateway.domain.keys import ApiKey
    from algodock_gateway.handlers.call_book import CallBook
    from algodock_gateway.handlers.calls import CallDesk
    from algodock_gateway.handlers.key_ring import KeyRing

__all__ = ["AiInlet"]

PREFIX: Final = b"/ai/"
CALLER_GONE: Final = 499
"""The status in metrics and records of a call whose caller left; nobody receives it."""

_PATH_KEPT: Final = 200
_SERVER_ERROR: Final = 500


class _Call:
    """What is known of one call so far."""

    __slots__ = ("algorithm", "error", "instance", "key", "name", "passed", "rest", "status", "trace_id")

    def __init__(self) -> None:
        self.name = ""
        self.rest = b"/"
        self.key: ApiKey | None = None
        self.algorithm: UUID | None = None
        self.instance: Instance | None = None
        self.passed = Forwarded()
        self.status = 0
        self.error: str | None = None
        self.trace_id: str | None = None


class AiInlet:
    """The ASGI application behind ``/ai/``."""

    def __init__(self, keys: KeyRing, desk: CallDesk, book: CallBook, *, proxies: frozenset[str] = frozenset()) -> None:
        """Join the handlers; ``proxies`` are addresses of trusted edges in front of the gateway."""
        self._proxies = proxies
        self._keys = keys
        self._desk = desk
        self._book = book

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one call."""
        started_at, started = time.time(), time.perf_counter()
        call = _Call()
        traceparent = key = length = None
        for name, value in scope["headers"]:
            if name == b"authorization":
                key = bearer(value)
            elif name == b"traceparent":
                traceparent = value.decode("latin-1")
            elif name == b"content-length":
                length = value
        with span("ai", parent=traceparent, kind="server") as handle:
            try:
                await self._serve(call, handle, key, declared_length(length), scope, receive, send)
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
                self._note(call, scope["method"], started_at, time.perf_counter() - started)

    async def _serve(  # one call's parts
        self,
        call: _Call,
        handle: SpanHandle,
        key: bytes | None,
        length: int | None,
        scope: Scope,
        receive: Receive,
        send: Send,
    ) -> None:
        call.key = (self._keys.known(key) if key is not None else None) or await self._keys.find(key)
        if call.key is None:
            raise KeyRefused
        raw: bytes = scope["raw_path"]
        end = raw.find(b"/", len(PREFIX))
        name = (raw[len(PREFIX) :] if end < 0 else raw[len(PREFIX) : end]).decode("latin-1")
        call.rest = b"/" if end < 0 else raw[end:]
        route = await self._desk.route(name)
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
        gate = await self._desk.enter(route, None if more else receive)
        try:
            await self._call_instance(call, handle, route, first, length, scope, receive, send)
        finally:
            gate.leave(route.limits.concurrency)

    async def _call_instance(  # as above
        self,
        call: _Call,
        handle: SpanHandle,
        route: Route,
        first: Message,
        length: int | None,
        scope: Scope,
        receive: Receive,
        send: Send,
    ) -> None:
        instance, connection = await self._desk.connect(route)
        call.instance = instance
        try:
            more = first.get("more_body", False)
            body_length = length if more else body_length_of(first, length, scope["method"])
            query: bytes = scope["query_string"]
            with span(f"call {call.name}", kind="client") if handle.recording else nullcontext(handle) as sending:
                head = request_head(
                    scope,
                    connection.origin,
                    target=call.rest + b"?" + query if query else call.rest,
                    length=body_length,
                    prefix=PREFIX + call.name.encode("ascii"),
                    traceparent=current_traceparent() if sending.recording else None,
                    proxies=self._proxies,
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
            self._desk.done(instance, connection)

    def _note(self, call: _Call, method: str, started_at: float, seconds: float) -> None:
        instance, passed = call.instance, call.passed
        self._book.note(
            CallRecord(
                started_at,
                int(seconds * 1e6),
                call.name,
                call.algorithm,
                instance.release_id if instance is not None else None,
                instance.id if instance is not None else None,
                call.key.id if call.key is not None else None,
                method,
                call.rest[:_PATH_KEPT].decode("latin-1"),
                call.status,
                call.error,
                passed.received,
                passed.sent,
                call.trace_id,
            )
        )


def _problem_for(error: Exception, name: str, path: str) -> AlgoDockError:
    """Return what the caller reads of ``error``."""
    if isinstance(error, AlgoDockError):
        return error
    if isinstance(error, UpstreamError):
        return InstanceFailed(name)
    return unexpected_error(error, path=path)


def _describe(handle: SpanHandle, scope: Scope, call: _Call) -> None:
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
