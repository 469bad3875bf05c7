"""The gateway, as far as the runner asks it: whose key, which secret, what algorithms there are."""

from __future__ import annotations

import asyncio
import hashlib
import time
from collections import OrderedDict
from typing import TYPE_CHECKING, Generic, Protocol, TypeVar
from uuid import UUID

from algodock_common.errors import InvalidInput, NotFound, Unauthorized, UpstreamFailed
from algodock_common.web import Identity
from algodock_runner.domain.algorithms import KnownAlgorithm
from algodock_runner.domain.errors import UnknownCaller

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from algodock_common.web import InternalClient

__all__ = ["FakeGateway", "Gateway", "HttpGateway", "NoCallbackSecret"]

CACHE_S = 30.0
SECRETS_CACHE_S = 3.0
"""Shorter than the wait before a callback's second attempt: that one is signed with a new secret, too."""

CACHE_ENTRIES = 10_000

Value = TypeVar("Value")


class NoCallbackSecret(NotFound):
    """The key that made the task is gone, and its callback secret with it."""

    title = "No callback secret"
    code = "no-callback-secret"


class Gateway(Protocol):
    """What the runner asks of the gateway; every call raises ``Unavailable`` when it does not answer."""

    async def verify_key(self, key: str) -> Identity:
        """Return whose API key it is.

        Raises:
            UnknownCaller: nobody's.
        """
        ...

    async def callback_secrets(self, key_id: str) -> tuple[str, ...]:
        """Return each ``whsec_…`` that callbacks of this key's tasks are signed with, the newest first.

        Raises:
            NoCallbackSecret: there is no such key.
        """
        ...

    async def algorithms(self) -> list[KnownAlgorithm]:
        """Return all algorithms, archived ones included."""
        ...


class HttpGateway:
    """The gateway's internal HTTP; keys are asked for once in ``CACHE_S`` seconds, secrets more often."""

    def __init__(self, client: InternalClient) -> None:
        """Keep the client; nothing is sent."""
        self._client = client
        self._callers: _Cache[Identity] = _Cache(CACHE_S)
        self._secrets: _Cache[tuple[str, ...]] = _Cache(SECRETS_CACHE_S)

    async def verify_key(self, key: str) -> Identity:
        """Return whose API key it is; the key itself is not kept."""
        return await self._callers.get(hashlib.sha256(key.encode()).hexdigest(), lambda: self._verify(key))

    async def callback_secrets(self, key_id: str) -> tuple[str, ...]:
        """Return the key's valid callback secrets."""
        return await self._secrets.get(key_id, lambda: self._ask_secrets(key_id))

    async def algorithms(self) -> list[KnownAlgorithm]:
        """Return the gateway's snapshot."""
        answer = await self._client.get("/internal/algorithms")
        try:
            return [
                KnownAlgorithm(
                    UUID(one["algorithm_id"]),
                    one["algorithm"],
                    one["state"],
                    str(one.get("owner") or ""),
                    {name: value for name, value in dict(one.get("limits") or {}).items() if value is not None},
                )
                for one in answer["algorithms"]
            ]
        except (KeyError, TypeError, ValueError) as error:
            msg = "the gateway's list of algorithms has another shape than expected"
            raise UpstreamFailed(msg) from error

    async def _verify(self, key: str) -> Identity:
        try:
            answer = await self._client.post("/internal/keys/verify", json={"key": key})
        except Unauthorized as error:
            msg = "the authorization header names no valid API key"
            raise UnknownCaller(msg) from error
        return Identity(str(answer["key_id"]), str(answer["name"]), tuple(answer["roles"]))

    async def _ask_secrets(self, key_id: str) -> tuple[str, ...]:
        try:
            answer = await self._client.get(f"/internal/keys/{key_id}/callback-secret")
        except (NotFound, InvalidInput) as error:
            msg = f"the API key {key_id} has no callback secret any more"
            raise NoCallbackSecret(msg) from error
        return tuple(map(str, answer["secrets"]))


class FakeGateway:
    """A gateway in memory, held to the same contract test."""

    def __init__(self) -> None:
        """Know nothing."""
        self.keys: dict[str, Identity] = {}
        self.secrets: dict[str, tuple[str, ...]] = {}
        self.known: list[KnownAlgorithm] = []

    async def verify_key(self, key: str) -> Identity:
        """Return whose key it is."""
        if key not in self.keys:
            msg = "the authorization header names no valid API key"
            raise UnknownCaller(msg)
        return self.keys[key]

    async def callback_secrets(self, key_id: str) -> tuple[str, ...]:
        """Return the key's secrets."""
        if key_id not in self.secrets:
            msg = f"the API key {key_id} has no callback secret any more"
            raise NoCallbackSecret(msg)
        return self.secrets[key_id]

    async def algorithms(self) -> list[KnownAlgorithm]:
        """Return what it was told."""
        return list(self.known)


class _Cache(Generic[Value]):
    """Answers for ``keep_s`` seconds; callers that ask at the same time share one question."""

    def __init__(self, keep_s: float) -> None:
        self._keep_s = keep_s
        self._entries: OrderedDict[str, tuple[float, asyncio.Future[Value]]] = OrderedDict()

    async def get(self, name: str, ask: Callable[[], Awaitable[Value]]) -> Value:
        entry = self._entries.get(name)
        if entry is None or entry[0] < time.monotonic():
            entry = (time.monotonic() + self._keep_s, asyncio.ensure_future(ask()))
            self._entries[name] = entry
            entry[1].add_done_callback(lambda done: self._forget_failure(name, done))
            while len(self._entries) > CACHE_ENTRIES:
                self._entries.popitem(last=False)
        return await asyncio.shield(entry[1])

    def _forget_failure(self, name: str, done: asyncio.Future[Value]) -> None:
        if done.cancelled() or done.exception() is not None:
            entry = self._entries.get(name)
            if entry is not None and entry[1] is done:
                del self._entries[name]
