"""Results out: JSON, a file with its content type, or a stream of server-sent events."""

from __future__ import annotations

import asyncio
import contextlib
import inspect
import json
import logging
from base64 import b64encode
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Iterator
from http import HTTPStatus
from typing import Any

from starlette.concurrency import run_in_threadpool
from starlette.responses import Response, StreamingResponse
from starlette.types import Receive, Scope, Send

from algodock_sdk.files import data_url, encode_file, is_picture
from algodock_sdk.problems import Problem, failure_of
from algodock_sdk.talk import Talk, event

__all__ = ["EVENTS", "answer", "is_stream", "json_bytes", "stream"]

EVENTS = "text/event-stream"

_log = logging.getLogger("algodock_sdk")
_END = object()


def is_stream(value: Any) -> bool:
    """Tell whether a result is a generator, whose items become events."""
    return inspect.isgenerator(value) or inspect.isasyncgen(value)


def answer(value: Any) -> Response:
    """Return the response of a result that is no generator.

    Raises:
        TypeError, ValueError: the result has no JSON (an unknown type, NaN or infinity).
    """
    if isinstance(value, Response):
        return value
    file = encode_file(value)
    if file is not None:
        return Response(file.data, media_type=file.content_type)
    return Response(json_bytes(value), media_type="application/json")


def json_bytes(value: Any) -> bytes:
    """Return the value as JSON; files inside it become ``{"$file": data URL}``.

    Raises:
        TypeError, ValueError: as ``answer``.
    """
    return json.dumps(value, ensure_ascii=False, allow_nan=False, separators=(",", ":"), default=_plain).encode()


def _plain(value: Any) -> Any:
    """Return a JSON-able stand-in for one value that ``json`` does not know."""
    if hasattr(value, "dtype") and hasattr(value, "tolist") and not (value.ndim and is_picture(value)):
        return value.tolist()  # a numpy number, or an array that is no picture
    file = encode_file(value)
    if file is not None:
        return {"$file": data_url(file), "content_type": file.content_type}
    if isinstance(value, (set, frozenset)):
        return list(value)
    from pydantic_core import PydanticSerializationError, to_jsonable_python

    if hasattr(value, "model_dump"):
        return value.model_dump()
    try:
        return to_jsonable_python(value)
    except PydanticSerializationError as error:
        msg = f"the result holds a {type(value).__qualname__}, which has no JSON"
        raise TypeError(msg) from error


def stream(
    value: Any,
    *,
    talk: Talk,
    trace_id: str | None,
    on_end: Callable[[BaseException | None], None],
    runs_as: Callable[[asyncio.Future[Any]], None] = lambda _: None,
    closed: Callable[[], bool] = lambda: False,
) -> StreamingResponse:
    """Return a generator, or a call that spoke before it returned, as events.

    What is said comes as ``progress``, ``log`` and ``output``, then ``done`` with the result, or
    ``error`` with a problem. ``runs_as`` is told what a cancel stops, ``on_end`` that it has ended;
    a generator goes no step further once ``closed`` says that nobody waits for it.
    """
    work = asyncio.ensure_future(_finish(value, talk, closed))
    runs_as(work)
    work.add_done_callback(lambda ended: on_end(None if ended.cancelled() else ended.exception()))
    return _Stream(
        _events(work, talk, trace_id),
        work,
        media_type=EVENTS,
        headers={"cache-control": "no-store", "x-accel-buffering": "no"},
    )


class _Stream(StreamingResponse):
    """Stops the work whatever happens: also when the caller left before the first event, or in the middle."""

    def __init__(self, events: AsyncGenerator[bytes, None], work: asyncio.Future[bytes], **options: Any) -> None:
        super().__init__(events, **options)
        self._work = work

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        try:
            await super().__call__(scope, receive, send)
        finally:
            self._work.cancel()


async def _events(work: asyncio.Future[bytes], talk: Talk, trace_id: str | None) -> AsyncGenerator[bytes, None]:
    ended = False
    while not ended:
        spoken = asyncio.ensure_future(talk.spoken())
        either: set[asyncio.Future[Any]] = {work, spoken}
        try:
            await asyncio.wait(either, return_when=asyncio.FIRST_COMPLETED)
        finally:
            spoken.cancel()
        ended = work.done()
        for words in talk.take():
            yield words
    if work.cancelled():
        return  # without a done event: whoever still reads knows that it is not whole
    error = work.exception()
    if error is None:
        yield event("done", work.result())
        return
    _log.error("predict failed while it streamed (trace %s)", trace_id or "-", exc_info=error)
    problem = error if isinstance(error, Problem) else failure_of(error)
    yield event("error", json_bytes(problem.document(trace_id)))


async def _finish(value: Any, talk: Talk, closed: Callable[[], bool]) -> bytes:
    """Run a call or a generator to its end; return the data of its ``done`` event."""
    result = await value if isinstance(value, asyncio.Future) else value
    if is_stream(result):
        return await _exhaust(result, talk, closed)
    return _done(result)


async def _exhaust(generator: Any, talk: Talk, closed: Callable[[], bool]) -> bytes:
    returned: list[Any] = []
    outputs = 0
    is_async = inspect.isasyncgen(generator)
    try:
        async for item in generator if is_async else _in_threads(_items(generator, returned)):
            if closed():
                raise asyncio.CancelledError
            is_progress = isinstance(item, dict) and "progress" in item and item.keys() <= {"progress", "message"}
            outputs += not is_progress
            await talk.put(event("progress" if is_progress else "output", json_bytes(item)))
        return json_bytes({"outputs": outputs, **({"result": returned[0]} if returned else {})})
    finally:
        if is_async:
            await generator.aclose()
        else:
            generator.close()


async def _in_threads(items: Iterator[Any]) -> AsyncIterator[Any]:
    """Yield a generator's items, each made in a thread, which cannot be stopped: when cancelled, it is waited for."""
    while True:
        step = asyncio.ensure_future(run_in_threadpool(next, items, _END))
        try:
            item = await asyncio.shield(step)
        finally:
            while not step.done():
                with contextlib.suppress(asyncio.CancelledError):
                    await asyncio.wait({step})
        if item is _END:
            return
        yield item


def _done(response: Response) -> bytes:
    """Return a finished response as the data of a ``done`` event: JSON as it is, anything else in base64."""
    body = getattr(response, "body", None)
    if not isinstance(body, bytes) or response.status_code >= HTTPStatus.BAD_REQUEST:
        raise Problem(
            max(response.status_code, HTTPStatus.INTERNAL_SERVER_ERROR),
            "The algorithm failed",
            "predict returned a response of its own that cannot follow what it said: return the value itself",
            code="algorithm-failed",
        )
    content_type = response.headers.get("content-type", "application/octet-stream")
    if content_type.partition(";")[0] == "application/json":
        return b'{"outputs":0,"result":' + body + b"}"
    return json_bytes({"outputs": 0, "content_type": content_type, "base64": b64encode(body).decode()})


def _items(generator: Any, returned: list[Any]) -> Iterator[Any]:
    """Yield a generator's items and keep what it returned at its end."""
    result = yield from generator
    if result is not None:
        returned.append(result)
