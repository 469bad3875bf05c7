"""What one call says while it works: its progress, its log lines and, of a generator, its items."""

from __future__ import annotations

import asyncio
import contextlib
import json
import logging
import threading
from collections import deque
from contextvars import ContextVar

__all__ = ["Talk", "event", "hear_logs", "progress"]

_MOST_WAITING = 1000
_TEXT = 8000  # characters; a log line may carry a whole tensor
_OWN_LOGGERS = ("algodock_sdk", "uvicorn")

current: ContextVar[Talk | None] = ContextVar("algodock_talk", default=None)


def progress(fraction: float | None = None, message: str | None = None) -> None:
    """Tell whoever watches this call how far it is: a ``fraction`` from 0 to 1, a ``message``, or both.

    Works in plain and async functions and in generators; costs next to nothing when nobody listens.
    Threads that ``predict`` starts by itself are not heard.

    Raises:
        ValueError: ``fraction`` is not from 0 to 1.
    """
    said: dict[str, float | str] = {}
    if fraction is not None:
        if not 0 <= fraction <= 1:
            msg = f"progress is a fraction from 0 to 1, not {fraction!r}"
            raise ValueError(msg)
        said["progress"] = float(fraction)
    if message is not None:
        said["message"] = str(message)[:_TEXT]
    talk = current.get()
    if talk is not None and said:
        talk.say(event("progress", json.dumps(said).encode()))


def event(name: str, data: bytes) -> bytes:
    """Return one server-sent event; ``data`` is JSON on one line."""
    return b"event: " + name.encode() + b"\ndata: " + data + b"\n\n"


class Talk:
    """The words of one call, as events on their way out; ``logs`` says whether log lines belong to them.

    ``say`` may be called in any thread; of what nobody reads in time the oldest is dropped.
    """

    def __init__(self, *, logs: bool) -> None:
        """Begin, in the event loop that the call runs in."""
        self.logs = logs
        self._loop = asyncio.get_running_loop()
        self._thread = threading.get_ident()
        self._words: deque[bytes] = deque(maxlen=_MOST_WAITING)
        self._spoken = asyncio.Event()
        self._read = asyncio.Event()

    def say(self, words: bytes) -> None:
        """Have an event sent, if the call's answer turns out to be a stream."""
        if threading.get_ident() == self._thread:
            self._add(words)  # at once, so that it keeps its place among a generator's items
            return
        with contextlib.suppress(RuntimeError):  # the loop has closed: the program ends
            self._loop.call_soon_threadsafe(self._add, words)

    async def put(self, words: bytes) -> None:
        """Have an event sent, and return when it is about to be: no generator runs far ahead of its reader."""
        self._read.clear()
        self._add(words)
        await self._read.wait()

    @property
    def speaks(self) -> bool:
        """Say whether there is something to send."""
        return self._spoken.is_set()

    async def spoken(self) -> None:
        """Return when there is something to send."""
        await self._spoken.wait()

    def take(self) -> list[bytes]:
        """Return what is to be sent."""
        words = list(self._words)
        self._words.clear()
        self._spoken.clear()
        self._read.set()
        return words

    def _add(self, words: bytes) -> None:
        self._words.append(words)
        self._spoken.set()


class _LogLines(logging.Handler):
    """Hands a record on to the call that it was made in."""

    def emit(self, record: logging.LogRecord) -> None:
        talk = current.get()
        if talk is None or not talk.logs or record.name.startswith(_OWN_LOGGERS):
            return
        try:
            said = {
                "level": record.levelname,
                "logger": record.name,
                "message": record.getMessage()[:_TEXT],
            }
        except Exception:  # noqa: BLE001  (a wrong format string is the author's, and logging's way to say so)
            self.handleError(record)
            return
        talk.say(event("log", json.dumps(said).encode()))


def hear_logs() -> None:
    """Let log lines from INFO on reach the calls that they are made in; once, however often it is called."""
    root = logging.getLogger()
    if not any(isinstance(handler, _LogLines) for handler in root.handlers):
        root.addHandler(_LogLines(logging.INFO))
