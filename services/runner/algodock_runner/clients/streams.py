"""An answer that comes as a stream, read while the algorithm works: server-sent events, or lines of JSON."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final, Protocol

from algodock_runner.clients.answers import Answer, AttemptFailed
from algodock_runner.domain.conversation import Conversation, StreamFailed
from algodock_runner.domain.retry import Failure, Kind, task_error

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterator

    from algodock_common.task_stream import Said

__all__ = ["EVENTS", "LINES", "Listener", "receive_stream"]

EVENTS: Final = "text/event-stream"
LINES: Final = frozenset({"application/x-ndjson", "application/ndjson", "application/jsonl", "application/x-jsonlines"})
ONE_EVENT_BYTES: Final = 16 * 1024 * 1024
"""What one event or line may have; it is held in memory."""


class Listener(Protocol):
    """Who hears what a running algorithm says."""

    def say(self, kind: Said, data: dict[str, Any]) -> None:
        """Pass it on to who watches; returns at once, raises nothing, and may drop it."""
        ...


async def receive_stream(
    chunks: AsyncIterator[bytes], content_type: str, *, listener: Listener | None, limit: int
) -> Answer:
    """Read a stream to its end and return its result; what is said on the way goes to ``listener``.

    Raises:
        AttemptFailed: the algorithm says that it failed; a part is larger than ``limit`` or than can
            be held; what it sends is not understood; or it ends before its ``done`` event.
    """
    conversation = Conversation(_nobody if listener is None else listener.say)
    events = content_type == EVENTS
    lines = _Lines(min(limit, ONE_EVENT_BYTES))
    event = _Event(min(limit, ONE_EVENT_BYTES))
    try:
        async for chunk in chunks:
            for line in lines.feed(chunk):
                _hear(conversation, line, event if events else None)
        if events and not conversation.ended:
            msg = "the stream of events ended before its done event"
            raise AttemptFailed(Failure(Kind.TRANSIENT, task_error("ConnectionLost", msg)))
        if not events and (rest := lines.rest()):
            conversation.line(rest)
    except StreamFailed as failed:
        raise AttemptFailed(failed.failure) from failed
    kind, body = conversation.result()
    if len(body) > limit:
        raise _too_large(limit)
    return Answer(kind, body, None, len(body))


def _hear(conversation: Conversation, line: bytes, event: _Event | None) -> None:
    if event is None:
        conversation.line(line)
    elif line:
        event.add(line)
    elif event.data is not None or event.name:
        name, data = event.take()
        conversation.event(name, data)


class _Lines:
    """Bytes cut into lines, which may come in any pieces."""

    def __init__(self, limit: int) -> None:
        self._limit = limit
        self._held = bytearray()

    def feed(self, chunk: bytes) -> Iterator[bytes]:
        begin = len(self._held)
        self._held += chunk
        start = 0
        while (end := self._held.find(b"\n", max(start, begin))) >= 0:
            line = bytes(self._held[start:end])
            start = end + 1
            yield line.removesuffix(b"\r")
        del self._held[:start]
        if len(self._held) > self._limit:
            raise _too_large(self._limit)

    def rest(self) -> bytes:
        return bytes(self._held)


class _Event:
    """The fields of a server-sent event until its empty line."""

    def __init__(self, limit: int) -> None:
        self.name = ""
        self.data: bytearray | None = None
        self._limit = limit

    def add(self, line: bytes) -> None:
        name, _, value = line.partition(b":")
        value = value.removeprefix(b" ")
        if name == b"event":
            self.name = value.decode(errors="replace")
        elif name == b"data":
            self.data = _with_line(self.data, value)
            if len(self.data) > self._limit:
                raise _too_large(self._limit)

    def take(self) -> tuple[str, bytes]:
        taken = self.name, bytes(self.data or b"")
        self.name, self.data = "", None
        return taken


def _with_line(before: bytearray | None, line: bytes) -> bytearray:
    """Return an event's data with one more line."""
    if before is None:
        return bytearray(line)
    before += b"\n"
    before += line
    return before


def _nobody(kind: Said, data: dict[str, Any]) -> None:
    """Hear it, and pass it on to nobody."""


def _too_large(limit: int) -> AttemptFailed:
    error = task_error("ResultTooLarge", f"a part of the answer is larger than {limit} bytes")
    return AttemptFailed(Failure(Kind.PERMANENT, error))
