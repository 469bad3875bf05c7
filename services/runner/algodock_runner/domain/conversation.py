"""What an algorithm says while it works, as server-sent events or as lines of JSON: one contract for both.

``progress``, ``log`` and ``output`` are for whoever watches; ``done`` is the end, ``error`` a failure.
The result is what ``done`` carries, else the last output.
"""

from __future__ import annotations

import base64
import json
from http import HTTPStatus
from typing import TYPE_CHECKING, Any, Final

from algodock_runner.domain.retry import Failure, Kind, failure_of_status, task_error

if TYPE_CHECKING:
    from collections.abc import Callable

    from algodock_common.task_stream import Said

__all__ = ["Conversation", "StreamFailed"]

JSON: Final = "application/json"
TEXT: Final = 8000
"""Characters of a log line or a message that are passed on."""


class StreamFailed(Exception):  # it is what it says
    """The algorithm said that it failed, or what it said is not understood."""

    def __init__(self, failure: Failure) -> None:
        """Carry the failure."""
        super().__init__(failure.error.message)
        self.failure = failure


class Conversation:
    """Follows what is said; ``say(kind, data)`` hears what is for watchers, ``data`` being JSON-able.

    ``ended`` turns true with ``done``; what comes after it does not count.
    """

    def __init__(self, say: Callable[[Said, dict[str, Any]], None]) -> None:
        """Begin to listen."""
        self.ended = False
        self._say = say
        self._body: tuple[str, bytes] | None = None
        self._outputs = 0
        self._lines = 0

    def result(self) -> tuple[str, bytes]:
        """Return the result's content type and bytes; nothing said is ``null``."""
        return self._body or (JSON, b"null")

    def event(self, name: str, data: bytes) -> None:
        """Hear one server-sent event. Data that is no JSON is text, as many services send it.

        Raises:
            StreamFailed: it is an ``error``.
        """
        if self.ended:
            return
        text = data.decode(errors="replace")
        if name in {"", "message"} and text.strip() == "[DONE]":
            self.ended = True
            return
        value, is_json = _parsed(text)
        raw = data if is_json else None
        self._hear("output" if name in {"", "message"} else name, value, raw)

    def line(self, line: bytes) -> None:
        """Hear one line of JSON.

        ``{"progress": …, "message": …}``, ``{"log": …}``, ``{"output": …}``, ``{"done": …}``,
        ``{"result": …}`` and ``{"error": …}`` are what their names say; any other value is an output.

        Raises:
            StreamFailed: it is an error, or no JSON.
        """
        self._lines += 1
        if self.ended or not line.strip():
            return
        value, is_json = _parsed(line.decode(errors="replace"))
        if not is_json:
            msg = f"line {self._lines} of its answer is no JSON"
            raise StreamFailed(Failure(Kind.PERMANENT, task_error("InvalidAnswer", msg)))
        name, data = _named(value)
        self._hear(name, data, line.strip() if data is value else None)

    def _hear(self, name: str, value: Any, raw: bytes | None) -> None:
        if name == "progress":
            said = _progress(value)
            if said is not None:
                self._say("progress", said)
        elif name == "log":
            self._say("log", _log(value))
        elif name == "output":
            self._outputs += 1
            self._body = (JSON, raw if raw is not None else _json(value))
            self._say("output", {"output": value})
        elif name == "done":
            self.ended = True
            self._done(value)
        elif name == "error":
            raise StreamFailed(_failure(value))

    def _done(self, value: Any) -> None:
        """Take the result out of ``done``; where it only counts the outputs, the last of them is the result."""
        if isinstance(value, dict):
            if "result" in value:
                self._body = (JSON, _json(value["result"]))
            elif value.keys() >= {"content_type", "base64"}:
                self._body = _file(value)
            elif value.keys() - {"outputs"}:
                self._body = (JSON, _json(value))
        elif value is not None and value is not True and value != "":
            self._body = (JSON, _json(value))


def _parsed(text: str) -> tuple[Any, bool]:
    try:
        return json.loads(text, parse_constant=_no_constant), True
    except (ValueError, RecursionError):
        return text, False


def _no_constant(name: str) -> None:
    msg = f"{name} is no JSON"
    raise ValueError(msg)


def _json(value: Any) -> bytes:
    return json.dumps(value, separators=(",", ":")).encode()  # ASCII: half a surrogate pair stays what it was


def _named(value: Any) -> tuple[str, Any]:
    """Return what a line is, and its data."""
    keys = value.keys() if isinstance(value, dict) else frozenset()
    found = "output", value
    if "progress" in keys and keys <= {"progress", "message"}:
        found = "progress", value
    elif "log" in keys and keys <= {"log", "level"}:
        found = "log", {"message": value["log"], "level": value.get("level", "INFO")}
    elif "done" in keys and keys <= {"done", "result", "outputs"}:
        found = "done", value if "result" in keys else value["done"]
    elif keys == {"result"}:
        found = "done", value
    elif keys in ({"output"}, {"error"}):
        (name,) = keys
        found = name, value[name]
    return found


def _progress(value: Any) -> dict[str, Any] | None:
    """Return a progress as watchers get it; None when it is none."""
    given = value if isinstance(value, dict) else {"progress": value}
    fraction, message = given.get("progress"), given.get("message")
    said: dict[str, Any] = {}
    if isinstance(fraction, (int, float)) and not isinstance(fraction, bool):
        said["progress"] = fraction
    if message is not None:
        said["message"] = str(message)[:TEXT]
    return said or None


def _log(value: Any) -> dict[str, Any]:
    given = value if isinstance(value, dict) else {"message": value}
    message = given.get("message", "")
    said = {
        "level": str(given.get("level", "INFO"))[:20],
        "message": (message if isinstance(message, str) else json.dumps(message))[:TEXT],
    }
    if given.get("logger"):
        said["logger"] = str(given["logger"])[:200]
    return said


def _file(value: dict[str, Any]) -> tuple[str, bytes]:
    try:
        body = base64.b64decode(str(value["base64"]), validate=True)
    except ValueError as error:
        msg = f"its done event carries no base64: {error}"
        raise StreamFailed(Failure(Kind.PERMANENT, task_error("InvalidAnswer", msg))) from error
    said = str(value["content_type"])
    sound = said and len(said) < 255 and said.isascii() and said.isprintable()  # noqa: PLR2004  # a header's value
    return (said if sound else "application/octet-stream"), body


def _failure(value: Any) -> Failure:
    """Return the failure that an ``error`` tells of: a problem's own type, message and status where it has them."""
    given = value if isinstance(value, dict) else {"message": value}
    raised = given.get("error")
    if not isinstance(raised, dict):
        raised = given
    kind = raised.get("type") if raised.get("type") not in (None, "about:blank") else given.get("title")
    message = given.get("detail") or raised.get("message") or raised.get("detail") or "it gave no reason"
    status = given.get("status")
    known = isinstance(status, int) and HTTPStatus.BAD_REQUEST <= status < 600  # noqa: PLR2004  # HTTP's
    error = task_error(
        str(kind or "AlgorithmFailed"),
        message if isinstance(message, str) else json.dumps(message),
        status if known else None,
    )
    return failure_of_status(status, error) if known and isinstance(status, int) else Failure(Kind.PERMANENT, error)
