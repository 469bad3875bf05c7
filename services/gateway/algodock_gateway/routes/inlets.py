"""The raw inlets beside ``/ai``: git, the forges' webhooks, instances' heartbeats; and who gets which path."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Final, Self

from algodock_common.observability import span
from algodock_common.web.last_resort import answered
from algodock_gateway.domain import GitKeyRefused, KeyRefused
from algodock_gateway.domain.keys import basic_password, bearer
from algodock_gateway.routes.headers import header_of

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Iterable

    from starlette.types import ASGIApp, Receive, Scope, Send

    from algodock_gateway.handlers.algorithms import Algorithms
    from algodock_gateway.handlers.identity import Stamps
    from algodock_gateway.handlers.key_ring import KeyRing
    from algodock_gateway.routes.express import ExpressLane
    from algodock_gateway.routes.relay import Peer, Relay

__all__ = ["Edge", "GitInlet", "PassedInlet", "SubmitInlet", "guarded"]

GIT_TIMEOUT_S: Final = 300.0
"""A push waits for its deploy on ``remote:`` lines, and a large repository is silent while it is packed."""
WEBHOOK_BYTES: Final = 25 * 2**20
HEARTBEAT_BYTES: Final = 64 * 2**10
SHORT_S: Final = 30.0

WEBHOOK_PATH: Final = "/api/v1/gitea/webhook"
SUBMIT_PATH: Final = "/api/v1/tasks"
SUBMIT_S: Final = 60.0
HEARTBEAT_PATH: Final = "/api/v1/registry/heartbeat"

_GIT_PATH: Final = re.compile(r"/git/([^/]+)/([^/]+?)\.git(/[^?#]*)")
_OWN_FORGE: Final = "algodock"


async def guarded(
    scope: Scope, receive: Receive, send: Send, name: str, serve: Callable[[Send], Awaitable[None]]
) -> None:
    """Run a raw inlet in a server span; what it raises becomes a problem document."""
    traceparent = header_of(scope, b"traceparent")
    parent = traceparent.decode("latin-1") if traceparent is not None else None
    with span(f"{scope['method']} {name}", parent=parent, kind="server") as handle:
        status = await answered(scope, receive, send, serve)
        if handle.recording:
            handle.set(http__request__method=scope["method"], http__route=name, http__response__status_code=status)


class GitInlet:
    """``/git/<owner>/<name>.git/…``: git over HTTP, to gitea-sync. A key is the password."""

    def __init__(self, keys: KeyRing, stamps: Stamps, algorithms: Algorithms, relay: Relay, peer: Peer) -> None:
        """Join what is needed."""
        self._keys = keys
        self._stamps = stamps
        self._algorithms = algorithms
        self._relay = relay
        self._peer = peer

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one request of git."""

        async def serve(send: Send) -> None:
            shown = header_of(scope, b"authorization")
            key = await self._keys.find(basic_password(shown) or bearer(shown))
            if key is None:
                raise GitKeyRefused
            path = _GIT_PATH.fullmatch(scope["path"])
            if path is not None and path[1] == _OWN_FORGE and _pushes(path[3], scope["query_string"]):
                await self._algorithms.with_repository(path[2], owner=key.name)
            query: bytes = scope["query_string"]
            raw: bytes = scope["raw_path"]
            await self._relay(
                scope,
                receive,
                send,
                peer=self._peer,
                target=raw + b"?" + query if query else raw,
                identity=self._stamps.of(key),
                timeout_s=GIT_TIMEOUT_S,
            )

        await guarded(scope, receive, send, "/git/{owner}/{name}", serve)


def _pushes(rest: str, query: bytes) -> bool:
    return rest == "/git-receive-pack" or (rest == "/info/refs" and b"service=git-receive-pack" in query.split(b"&"))


class PassedInlet:
    """A path whose caller shows something else than a key: handed as it is to the service that checks it."""

    def __init__(  # what differs from one to the next
        self, relay: Relay, peer: Peer, path: str, *, target: str, max_body: int, own_authorization: bool = False
    ) -> None:
        """``path`` here is ``target`` at the peer; ``own_authorization``: the caller's credential goes along."""
        self.path = path
        self._relay = relay
        self._peer = peer
        self._target = target.encode("ascii")
        self._max_body = max_body
        self._own_authorization = own_authorization

    @classmethod
    def webhooks(cls, relay: Relay, gitea_sync: Peer) -> Self:
        """Return the inlet of the forges' deliveries: the raw body, as it was signed."""
        return cls(relay, gitea_sync, WEBHOOK_PATH, target="/webhook", max_body=WEBHOOK_BYTES)

    @classmethod
    def heartbeats(cls, relay: Relay, registry: Peer) -> Self:
        """Return the inlet of instances' beats, each with the instance's own token."""
        return cls(
            relay, registry, HEARTBEAT_PATH, target="/heartbeat", max_body=HEARTBEAT_BYTES, own_authorization=True
        )

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one request."""

        async def serve(send: Send) -> None:
            await self._relay(
                scope,
                receive,
                send,
                peer=self._peer,
                target=self._target,
                own_authorization=self._own_authorization,
                max_body=self._max_body,
                timeout_s=SHORT_S,
            )

        await guarded(scope, receive, send, self.path, serve)


class SubmitInlet:
    """``POST /api/v1/tasks``: to the runner, which streams and checks the body. ``api/submitting`` documents it.

    Hundreds come a second: the framework's routing would cost more than the relay.
    """

    def __init__(self, keys: KeyRing, stamps: Stamps, relay: Relay, runner: Peer) -> None:
        """Join what is needed."""
        self._keys = keys
        self._stamps = stamps
        self._relay = relay
        self._runner = runner

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one submission."""

        async def serve(send: Send) -> None:
            key = await self._keys.find(bearer(header_of(scope, b"authorization")))
            if key is None:
                raise KeyRefused
            await self._relay(
                scope,
                receive,
                send,
                peer=self._runner,
                target=b"/internal/tasks",
                identity=self._stamps.of(key),
                timeout_s=SUBMIT_S,
            )

        await guarded(scope, receive, send, SUBMIT_PATH, serve)


class Edge:
    """The whole gateway as one ASGI application: raw inlets by their paths, FastAPI for everything else."""

    def __init__(  # one for each inlet
        self, *, ai: ExpressLane, git: ASGIApp, submit: ASGIApp, passed: Iterable[PassedInlet], api: ASGIApp
    ) -> None:
        """Join the inlets; ``lane`` is for the protocol that serves them."""
        self.lane = ai
        self._ai = ai.inlet
        self._git = git
        self._submit = submit
        self._exact = {inlet.path: inlet for inlet in passed}
        self._api = api

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Hand a request to its inlet."""
        if scope["type"] == "http":
            path: str = scope["path"]
            if path.startswith("/ai/"):
                await self._ai(scope, receive, send)
                return
            if path.startswith("/git/"):
                await self._git(scope, receive, send)
                return
            if path == SUBMIT_PATH and scope["method"] == "POST":
                await self._submit(scope, receive, send)
                return
            exact = self._exact.get(path)
            if exact is not None:
                await exact(scope, receive, send)
                return
        await self._api(scope, receive, send)
