"""Algorithms' instances as a worker calls them: one POST, its answer received whole, or why not."""

from __future__ import annotations

import asyncio
import json
from http import HTTPStatus
from typing import TYPE_CHECKING, Literal, Protocol

from algodock_common.errors import PROBLEM_CONTENT_TYPE
from algodock_common.observability import current_traceparent, span
from algodock_common.outages import is_infrastructure
from algodock_common.storage import BINARY
from algodock_common.upstream import CannotConnect, UpstreamError, exchange
from algodock_runner.clients.answers import Answer, AttemptFailed, receive
from algodock_runner.clients.streams import EVENTS, LINES, receive_stream
from algodock_runner.domain.requests import JSON
from algodock_runner.domain.retry import CONNECTION_LOST, Failure, Kind, failure_of_status, task_error

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path
    from uuid import UUID

    from algodock_common.upstream import Connection, Pool
    from algodock_runner.clients.streams import Listener

__all__ = ["Call", "CallFailed", "CancelAnswer", "HttpInstances", "Instances"]

ERROR_BYTES = 64 * 1024
CANCEL_S = 3.0
HEADER_LIMIT = 255

CancelAnswer = Literal["stopped", "goes on", "refused", "silent"]
"""What an instance says of cancelled work; ``refused``: nobody listens there (any more), ``silent``: no answer."""
ACCEPTED = "text/event-stream, application/json, */*;q=0.5"


class Call:
    """One call: which task and attempt, with what body (bytes, or a file) and for how long."""

    def __init__(  # what a request is made of
        self,
        task_id: UUID,
        attempt: int,
        body: bytes | Path,
        content_type: str,
        *,
        timeout_s: float,
        max_answer_bytes: int,
        listener: Listener | None = None,
    ) -> None:
        """Hold the parts; times in seconds. ``listener`` hears what the algorithm says while it works."""
        self.task_id = task_id
        self.attempt = attempt
        self.body = body
        self.content_type = content_type
        self.timeout_s = timeout_s
        self.max_answer_bytes = max_answer_bytes
        self.listener = listener


class CallFailed(AttemptFailed):
    """The call failed; ``sent`` is False when nothing of it reached the instance."""

    def __init__(self, failure: Failure, *, sent: bool) -> None:
        """Carry the failure."""
        super().__init__(failure)
        self.sent = sent


class Instances(Protocol):
    """Calls instances of algorithms."""

    async def predict(self, base_url: str, call: Call) -> Answer:
        """Return the answer to ``POST <base_url>/predict``; cancelling closes the connection.

        Raises:
            CallFailed: no answer, or one other than 2xx.
            AttemptFailed: an answer that is too large, or a stream that tells of a failure or breaks off.
        """
        ...

    async def cancel(self, base_url: str, task_id: UUID) -> CancelAnswer:
        """Ask ``POST <base_url>/cancel/<task id>`` whether the work has stopped, after its call was closed.

        An instance answers 202 while it goes on. One that has no such route is taken at its
        connection's word: it was told by the close.
        """
        ...


class HttpInstances:
    """Instances over HTTP."""

    def __init__(self, pool: Pool) -> None:
        """Keep the pool."""
        self._pool = pool

    async def predict(self, base_url: str, call: Call) -> Answer:
        """Call it; the trace goes along."""
        if base_url.startswith("grpc://"):
            reason = task_error(
                "SpeaksGrpc", "the algorithm speaks gRPC: it takes calls at the gRPC edge, and no tasks"
            )
            raise CallFailed(Failure(Kind.PERMANENT, reason), sent=False)
        url = f"{base_url}/predict"
        with span("POST /predict", kind="client", http__request__method="POST", url__full=url) as handle:
            try:
                answer = await self._predict(base_url, call)
            except CallFailed as failed:
                handle.set(http__response__status_code=failed.failure.error.status)
                raise
            handle.set(http__response__status_code=200)
            return answer

    async def _predict(self, base_url: str, call: Call) -> Answer:
        headers = {
            "content-type": call.content_type,
            "accept": ACCEPTED,
            "accept-encoding": "identity",
            "x-algodock-task": str(call.task_id),
            "x-algodock-attempt": str(call.attempt),
        }
        traceparent = current_traceparent()
        if traceparent is not None:
            headers["traceparent"] = traceparent
        try:
            async with (
                asyncio.timeout(call.timeout_s),
                exchange(self._pool, self._pool.origin(base_url), "POST", "/predict", headers, call.body) as answer,
            ):
                if HTTPStatus.OK <= answer.status < HTTPStatus.MULTIPLE_CHOICES:
                    kind, limit = _media_type(answer), call.max_answer_bytes
                    if kind == EVENTS or kind in LINES:
                        return await receive_stream(_body(answer), kind, listener=call.listener, limit=limit)
                    return await receive(_body(answer), _content_type(answer), limit=limit)
                raise CallFailed(await _refusal(answer), sent=True)
        except CannotConnect as error:
            reason = task_error("ConnectionRefused", f"the instance cannot be reached: {error}")
            raise CallFailed(Failure(Kind.NOT_STARTED, reason), sent=False) from error
        except TimeoutError as error:
            reason = task_error("Timeout", f"no answer within {call.timeout_s:g} s", HTTPStatus.GATEWAY_TIMEOUT)
            raise CallFailed(Failure(Kind.TRANSIENT, reason), sent=True) from error
        except (UpstreamError, OSError) as error:
            if isinstance(error, UpstreamError) or is_infrastructure(error):
                reason = task_error(CONNECTION_LOST, f"the connection broke before the answer was whole: {error!r}")
            else:  # the disk, for one: not the instance's fault
                what = f"a file of the task cannot be read or written on the worker's machine: {error}"
                reason = task_error(type(error).__name__, what)
            raise CallFailed(Failure(Kind.TRANSIENT, reason), sent=True) from error

    async def cancel(self, base_url: str, task_id: UUID) -> CancelAnswer:
        """Ask it."""
        if base_url.startswith("grpc://"):
            return "stopped"  # nothing was ever begun there
        path = f"/cancel/{task_id}"
        try:
            async with (
                asyncio.timeout(CANCEL_S),
                exchange(self._pool, self._pool.origin(base_url), "POST", path, {}) as answer,
            ):
                return "goes on" if answer.status == HTTPStatus.ACCEPTED else "stopped"
        except CannotConnect as error:
            return "refused" if isinstance(error.__cause__, ConnectionRefusedError) else "silent"
        except (UpstreamError, TimeoutError, OSError):
            return "silent"


async def _body(answer: Connection) -> AsyncIterator[bytes]:
    """Yield an answer's body as it comes."""
    while data := await answer.read():
        yield data


def _media_type(answer: Connection) -> str:
    return answer.header(b"content-type").partition(";")[0].strip().lower()


def _content_type(answer: Connection) -> str:
    """Return the answer's content type if another header can carry it."""
    said = answer.header(b"content-type")
    return said if said and len(said) <= HEADER_LIMIT and said.isascii() and said.isprintable() else BINARY


async def _refusal(answer: Connection) -> Failure:
    """Read why an instance refused: a problem's own words, else the beginning of the body."""
    raw = b""
    while len(raw) < ERROR_BYTES and (data := await answer.read()):
        raw += data
    raw = raw[:ERROR_BYTES]
    kind, message = f"HTTP {answer.status}", raw[:500].decode(errors="replace").strip()
    if _media_type(answer) in {PROBLEM_CONTENT_TYPE, JSON}:
        try:
            document = json.loads(raw)
        except (ValueError, RecursionError):
            document = None
        if isinstance(document, dict):
            raised = document.get("error")
            named = raised.get("type") if isinstance(raised, dict) else None
            kind = str(named or document.get("title") or kind)
            message = _words(document.get("detail")) or message
    after = answer.header(b"retry-after")
    error = task_error(kind, message or f"the instance answered {answer.status}", answer.status)
    return failure_of_status(answer.status, error, float(after) if after.isdigit() else None)


def _words(detail: object) -> str:
    if detail is None or isinstance(detail, str):
        return detail or ""
    return json.dumps(detail, ensure_ascii=False)
