"""The express lane of ``/ai/``: a call that waits for nothing but its instance's answer passes without a task.

Everything that takes a decision with time in it (an unknown key, no free slot, no idle connection,
a preference, a sampled trace, a stream, a fault) is ``AiInlet``'s: the lane either declines before it has sent
anything, or hands the call over with what it holds. ``docs/decisions/0045`` has the reason and figures.
"""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, Protocol

from algodock_common.observability import span
from algodock_common.upstream import CallerGone
from algodock_gateway.domain.keys import bearer
from algodock_gateway.routes.ai import BEGUN_SPAN, SentCall
from algodock_gateway.routes.call import PREFIX, Call
from algodock_gateway.routes.headers import NOT_ANSWERED, length_to_declare, request_head

if TYPE_CHECKING:
    from starlette.types import ASGIApp, Scope

    from algodock_common.observability import SpanHandle
    from algodock_common.routing import Route
    from algodock_gateway.routes.ai import AiInlet

__all__ = ["Caller", "ExpressCall", "ExpressLane"]


class Caller(Protocol):
    """The caller's side of the connection, as the lane needs it."""

    @property
    def writable(self) -> bool:
        """Say whether an answer may be written without waiting."""
        ...

    def answer(self, status: int, head: list[bytes], body: bytes) -> None:
        """Write a whole answer and be ready for the next request; ``head`` is made of pieces of header lines."""
        ...

    def hand_over(self, app: ASGIApp) -> None:
        """Let ``app`` answer as if the request had come to it; its body has been received."""
        ...


class ExpressLane:
    """Begins calls that can be sent at once."""

    def __init__(self, inlet: AiInlet) -> None:
        """Stand in front of ``inlet``, which calls are handed over to, with the same handlers."""
        self.inlet = inlet
        self._keys, self._desk, self._book = inlet.keys, inlet.desk, inlet.book
        self._proxies = inlet.proxies

    def begin(self, caller: Caller, scope: Scope, path: bytes, query: bytes, body: bytes) -> ExpressCall | None:
        """Send the request to an instance, or return None: then the call is for the inlet, and nothing has happened.

        ``scope`` needs only method, scheme, client, headers and state here; ``path`` begins with ``/ai/``.
        """
        call = Call()
        key = traceparent = length = None
        for name, value in scope["headers"]:
            if name == b"authorization":
                key = bearer(value)
            elif name == b"traceparent":
                traceparent = value.decode("latin-1")
            elif name == b"content-length":
                length = value
            elif name == b"prefer":
                return None
        call.key = self._keys.known(key) if key is not None else None
        route = self._desk.known_route(call.address(path)) if call.key is not None else None
        if route is None or len(body) > route.limits.max_body_bytes:
            return None
        # A trace is drawn once, whoever serves the call.
        handle = scope["state"][BEGUN_SPAN] = span("ai", parent=traceparent, kind="server")
        sent = None if handle.recording else self._seat(call, handle, route)
        if sent is None:
            return None
        method: str = scope["method"]
        connection = sent.connection
        try:
            head = request_head(
                scope,
                connection.origin,
                target=call.target(query),
                length=length_to_declare(len(body), method, declared=length is not None),
                prefix=PREFIX + route.algorithm.encode("ascii"),
                proxies=self._proxies,
            )
        except BaseException:
            self._leave(sent)
            raise
        call.name, call.algorithm = route.algorithm, route.algorithm_id
        call.passed.received = len(body)
        connection.begin(head_only=False)
        connection.write(head + body)
        connection.request_done = True
        connection.expect_within(sent.instance.limits.timeout_s)
        return ExpressCall(self, caller, sent, method)

    def end(self, sent: SentCall, method: str) -> None:
        """Give back what an answered call holds, and note it."""
        self._leave(sent)
        self._book.note(sent.call.record(method))

    def _seat(self, call: Call, handle: SpanHandle, route: Route) -> SentCall | None:
        """Take a slot, an instance and a connection, if all are there."""
        gate = self._desk.slot(route)
        if gate is None:
            return None
        found = self._desk.idle(route)
        if found is None:
            gate.leave(route.limits.concurrency)
            return None
        call.instance = found[0]
        return SentCall(call, handle, route, gate, *found)

    def _leave(self, sent: SentCall) -> None:
        self._desk.done(sent.instance, sent.connection)
        sent.gate.leave(sent.route.limits.concurrency)


class ExpressCall:
    """A call on its way: answered when the whole answer comes at once, handed over when anything else does."""

    __slots__ = ("_caller", "_lane", "_method", "_sent")

    def __init__(self, lane: ExpressLane, caller: Caller, sent: SentCall, method: str) -> None:
        """Wait for the instance's answer."""
        self._lane = lane
        self._caller = caller
        self._sent = sent
        self._method = method
        sent.connection.listener = self._answered

    def caller_left(self) -> None:
        """End the instance's call: nobody waits for it."""
        self._sent.connection.fail(CallerGone("the caller left"))

    def hand_over(self) -> None:
        """Let the inlet go on with the call."""
        self._sent.connection.listener = None
        self._caller.hand_over(partial(self._lane.inlet.go_on, self._sent))

    def _answered(self) -> None:
        """Answer, if all of the answer is there and says how long it is."""
        sent = self._sent
        connection = sent.connection
        head: list[bytes] = []
        length = None
        for name, value in connection.headers:
            if name in NOT_ANSWERED:
                continue
            if name == b"content-length":
                length = value
            head += (name, b": ", value, b"\r\n")
        if not connection.complete or length is None or not self._caller.writable:
            self.hand_over()
            return
        body = connection.take()
        call = sent.call
        call.status = call.passed.status = status = connection.status
        call.passed.sent = len(body)
        self._caller.answer(status, head, body)
        self._lane.end(sent, self._method)
