"""``Prefer`` on ``POST /ai/<name>/predict`` (RFC 7240): the call becomes a task, so that no crash loses it.

``respond-async`` answers 202 with the task's place; ``wait=N`` waits up to N seconds for its result
first, and answers as the algorithm would have. Other preferences are ignored, as the RFC asks.
"""

from __future__ import annotations

import json
import re
from typing import TYPE_CHECKING, Any, Final, NamedTuple
from uuid import UUID

from starlette.responses import Response

from algodock_common.errors import AlgoDockError, Conflict, UpstreamFailed, UpstreamTimeout, error_for_status
from algodock_common.events import TASK_TERMINAL_STATES
from algodock_gateway.domain import KeyRefused
from algodock_gateway.domain.keys import bearer
from algodock_gateway.routes.call import PREFIX
from algodock_gateway.routes.headers import header_of
from algodock_gateway.routes.inlets import guarded

if TYPE_CHECKING:
    from collections.abc import Iterable

    from starlette.types import Message, Receive, Scope, Send

    from algodock_gateway.clients import JsonObject
    from algodock_gateway.handlers.identity import Stamps
    from algodock_gateway.handlers.key_ring import KeyRing
    from algodock_gateway.handlers.tasks import Tasks
    from algodock_gateway.routes.relay import Peer, Relay

__all__ = ["PreferInlet", "Preferences", "preferences"]

LONGEST_WAIT_S: Final = 60
LONGEST_HEADER: Final = 1000
SUBMIT_S: Final = 60.0
RESULT_S: Final = 30.0
ROUTE: Final = "/ai/{name}/predict"

_PATH: Final = re.compile(re.escape(PREFIX) + rb"([^/]+)/predict")
_WORD: Final = r"[!#$%&'*+.^_`|~0-9A-Za-z-]+"
_ITEM: Final = re.compile(r'(?:"(?:[^"\\]|\\.)*"|[^,"])+')
_PREFERENCE: Final = re.compile(rf'\s*({_WORD})\s*(?:=\s*("(?:[^"\\]|\\.)*"|{_WORD})\s*)?(?:;.*)?\s*', re.DOTALL)
_MADE: Final = frozenset({200, 202})
_TEMPORARY_REDIRECT: Final = 307
_SEE_OTHER: Final = 303
_ERROR: Final = 400


class Preferences(NamedTuple):
    """What a caller prefers, as far as it is honoured: ``wait_s`` is in whole seconds, None where it is not said."""

    respond_async: bool
    wait_s: int | None

    def applied(self) -> bytes:
        """Return the value of ``Preference-Applied``."""
        said = ["respond-async"] if self.respond_async else []
        if self.wait_s is not None:
            said.append(f"wait={self.wait_s}")
        return ", ".join(said).encode("ascii")


def preferences(headers: Iterable[tuple[bytes, bytes]]) -> Preferences | None:
    """Read the ``Prefer`` headers; None when they say nothing that is honoured here.

    Of a preference that is given twice the first counts; one that cannot be read does not.
    """
    said: dict[str, str] = {}
    text = ",".join(value.decode("latin-1") for name, value in headers if name == b"prefer")
    for item in _ITEM.findall(text) if len(text) <= LONGEST_HEADER else ():
        found = _PREFERENCE.fullmatch(item)
        if found is not None:
            said.setdefault(found[1].lower(), (found[2] or "").strip('"'))
    wait = said.get("wait", "")
    wait_s = min(int(wait[:9]), LONGEST_WAIT_S) if wait.isascii() and wait.isdigit() else None
    respond_async = said.get("respond-async") == ""
    return Preferences(respond_async, wait_s) if respond_async or wait_s is not None else None


class PreferInlet:
    """Serves the calls that shall become tasks."""

    def __init__(self, keys: KeyRing, stamps: Stamps, relay: Relay, runner: Peer, tasks: Tasks) -> None:
        """Join what is needed."""
        self._keys = keys
        self._stamps = stamps
        self._relay = relay
        self._runner = runner
        self._tasks = tasks

    async def took(self, scope: Scope, receive: Receive, send: Send) -> bool:
        """Serve a call if its preferences can be honoured: a POST of ``predict`` without a query."""
        path = _PATH.fullmatch(scope["raw_path"])
        wanted = preferences(scope["headers"])
        if path is None or wanted is None or scope["method"] != "POST" or scope["query_string"]:
            return False

        async def serve(send: Send) -> None:
            await self._serve(path[1], wanted, scope, receive, send)

        await guarded(scope, receive, send, ROUTE, serve)
        return True

    async def _serve(self, name: bytes, wanted: Preferences, scope: Scope, receive: Receive, send: Send) -> None:
        key = await self._keys.find(bearer(header_of(scope, b"authorization")))
        if key is None:
            raise KeyRefused
        identity = self._stamps.of(key)
        submitted = _Kept()
        await self._relay(
            scope,
            receive,
            submitted,
            peer=self._runner,
            target=b"/internal/tasks/of/" + name,
            identity=identity,
            timeout_s=SUBMIT_S,
        )
        if submitted.status not in _MADE:
            await submitted.replay(send)
            return
        task: JsonObject = json.loads(submitted.body)
        if wanted.wait_s:
            task = await self._tasks.get(UUID(task["id"]), identity=identity, wait_s=wanted.wait_s)
        if task["state"] not in TASK_TERMINAL_STATES:
            headers = {"location": _place(task), "preference-applied": wanted.applied().decode("ascii")}
            answer = Response(json.dumps(task), 202, headers, media_type="application/json")
            await answer(scope, receive, send)
        elif task["state"] == "succeeded":
            await self._result(task, identity, wanted, scope, receive, send)
        else:
            raise _failure(task)

    async def _result(  # one answer's parts
        self, task: JsonObject, identity: str, wanted: Preferences, scope: Scope, receive: Receive, send: Send
    ) -> None:
        """Answer with the result; where it lies in the object store, with its place there (303)."""
        asked = False
        more = [
            (b"content-location", _place(task).encode("ascii") + b"/result"),
            (b"preference-applied", wanted.applied()),
        ]

        async def nothing() -> Message:
            nonlocal asked
            if asked:
                return await receive()
            asked = True
            return {"type": "http.request", "body": b"", "more_body": False}

        async def told(message: Message) -> None:
            if message["type"] == "http.response.start":
                # A temporary redirect would have the caller send the call's body to the object store.
                status = _SEE_OTHER if message["status"] == _TEMPORARY_REDIRECT else message["status"]
                message = {**message, "status": status, "headers": [*message["headers"], *more]}
            await send(message)

        headers = [pair for pair in scope["headers"] if pair[0] not in {b"content-length", b"content-type", b"prefer"}]
        await self._relay(
            {**scope, "method": "GET", "headers": headers},
            nothing,
            told,
            peer=self._runner,
            target=f"/internal/tasks/{task['id']}/result".encode("ascii"),
            identity=identity,
            timeout_s=RESULT_S,
        )


class _Kept:
    """An answer that is looked at before it is passed on; the runner's are short."""

    def __init__(self) -> None:
        self.status = 0
        self.body = b""
        self._messages: list[Message] = []

    async def __call__(self, message: Message) -> None:
        self._messages.append(message)
        self.status = message.get("status", self.status)
        self.body += message.get("body", b"")

    async def replay(self, send: Send) -> None:
        for message in self._messages:
            await send(message)


def _place(task: JsonObject) -> str:
    return f"/api/v1/tasks/{task['id']}"


def _failure(task: JsonObject) -> AlgoDockError:
    """Return the error that a caller who waited reads: with the algorithm's own status, where it gave one."""
    error: dict[str, Any] = task.get("error") or {}
    detail = error.get("message") or f"The task {task['state']}."
    more = {"task_id": task["id"], "task_state": task["state"], "error": error}
    if task["state"] == "expired":
        return UpstreamTimeout(detail, **more)
    if task["state"] == "cancelled":
        return Conflict(detail, **more)
    status = error.get("status")
    if not isinstance(status, int) or status < _ERROR:
        return UpstreamFailed(detail, **more)
    failure = error_for_status(status)(detail, **more)
    failure.status = status
    return failure
