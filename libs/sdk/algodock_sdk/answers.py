"""Results out: JSON, a file with its content type, or a stream of server-sent events."""

from __future__ import annotations

import inspect
import json
import logging
from collections.abc import AsyncGenerator, Callable, Iterator
from typing import Any

from starlette.concurrency import iterate_in_threadpool
from starlette.responses import Response, StreamingResponse
from starlette.types import Receive, Scope, Send

from algodock_sdk.files import data_url, encode_file, is_picture
from algodock_sdk.problems import Problem, failure_of

__all__ = ["answer", "is_stream", "json_bytes", "stream"]

_log = logging.getLogger("algodock_sdk")


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
    trace_id: str | None,
    on_end: Callable[[BaseException | None], None],
    closed: Callable[[], bool] = lambda: False,
) -> StreamingResponse:
    """Return the events of a generator: ``progress``, ``output``, then ``done``, or ``error`` with a problem.

    It goes no step further once ``closed`` says that nobody waits for it.
    """
    ended = False

    def end(failure: BaseException | None) -> None:
        nonlocal ended
        if not ended:
            ended = True
            on_end(failure)

    return _Stream(
        _events(value, trace_id, end, closed),
        end,
        media_type="text/event-stream",
        headers={"cache-control": "no-store", "x-accel-buffering": "no"},
    )


class _Stream(StreamingResponse):
    """Ends its generator whatever happens: also when the caller left before the first event, or in the middle."""

    def __init__(
        self, events: AsyncGenerator[bytes, None], end: Callable[[BaseException | None], None], **options: Any
    ) -> None:
        super().__init__(events, **options)
        self._events = events
        self._end = end

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        try:
            await super().__call__(scope, receive, send)
        finally:
            try:
                await self._events.aclose()
            finally:
                self._end(None)


async def _events(
    value: Any,
    trace_id: str | None,
    on_end: Callable[[BaseException | None], None],
    closed: Callable[[], bool],
) -> AsyncGenerator[bytes, None]:
    returned: list[Any] = []
    outputs = 0
    failure: BaseException | None = None
    try:
        async for item in value if inspect.isasyncgen(value) else iterate_in_threadpool(_items(value, returned)):
            if closed():
                return
            progress = isinstance(item, dict) and "progress" in item and item.keys() <= {"progress", "message"}
            outputs += not progress
            yield _event("progress" if progress else "output", item)
        yield _event("done", {"outputs": outputs, **({"result": returned[0]} if returned else {})})
    except Exception as error:  # noqa: BLE001  (the author's code: the caller is told, the traceback goes to the log)
        failure = error
        _log.exception("predict failed while it streamed (trace %s)", trace_id or "-")
        problem = error if isinstance(error, Problem) else failure_of(error)
        yield _event("error", problem.document(trace_id))
    finally:
        if inspect.isasyncgen(value):
            await value.aclose()
        else:
            value.close()
        on_end(failure)


def _items(generator: Any, returned: list[Any]) -> Iterator[Any]:
    """Yield a generator's items and keep what it returned at its end."""
    result = yield from generator
    if result is not None:
        returned.append(result)


def _event(name: str, data: Any) -> bytes:
    return b"event: " + name.encode() + b"\ndata: " + json_bytes(data) + b"\n\n"
