"""Streams a request to another service and its answer back: the proxy engine for what is not an algorithm."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Final, NamedTuple
from urllib.parse import urlencode

from starlette.responses import Response

from algodock_common.errors import Unavailable, UpstreamFailed, UpstreamTimeout
from algodock_common.observability import current_traceparent
from algodock_common.upstream import AnswerTooLate, CallerGone, CannotConnect, UpstreamError
from algodock_common.web import IDENTITY_HEADER
from algodock_gateway.domain import BodyTooLarge
from algodock_gateway.routes.forward import AnswerBroke, Forwarded, forward
from algodock_gateway.routes.headers import body_length_of, declared_length, header_of, request_head
from algodock_gateway.routes.outer_problems import OuterProblems

if TYPE_CHECKING:
    from collections.abc import Mapping

    from starlette.types import Receive, Scope, Send

    from algodock_common.upstream import Connection, Pool

__all__ = ["Peer", "Relay", "Relayed"]

_CONNECT_AGAIN_S: Final = (0.1, 0.2, 0.4, 0.8, 1.6)
"""A service that is being restarted is back within a few seconds, and nothing was sent yet."""

UNLIMITED: Final = 1 << 62
"""The service that is relayed to has a limit of its own and says so early."""


class Peer(NamedTuple):
    """Another service: its name for errors, and where it listens."""

    name: str
    base_url: str


class Relay:
    """Streams requests to other services, with the service token in place of the caller's key."""

    def __init__(self, pool: Pool, service_token: str, *, proxies: frozenset[str] = frozenset()) -> None:
        """Use the gateway's pool; ``proxies`` are addresses of trusted edges in front of the gateway."""
        self._proxies = proxies
        self._pool = pool
        self._authorization = f"Bearer {service_token}".encode("ascii")

    async def __call__(  # noqa: PLR0913  # the parts of one request
        self,
        scope: Scope,
        receive: Receive,
        send: Send,
        *,
        peer: Peer,
        target: bytes,
        identity: str | None = None,
        own_authorization: bool = False,
        max_body: int = UNLIMITED,
        timeout_s: float,
    ) -> None:
        """Relay one request.

        ``target`` is the path and query at the peer. With ``own_authorization`` the caller's
        credential goes along (an instance's token) instead of the service token. ``timeout_s``
        bounds the wait for the head, and for each next part.

        Raises:
            BodyTooLarge, Unavailable, UpstreamTimeout, UpstreamFailed: the caller has got nothing yet.
        """
        length = declared_length(header_of(scope, b"content-length"))
        if length is not None and length > max_body:
            raise BodyTooLarge(max_body)
        first = await receive()
        if first["type"] == "http.disconnect":
            return
        if not first.get("more_body", False):
            length = body_length_of(first, length, scope["method"])
            if length > max_body:
                raise BodyTooLarge(max_body)
        more = [] if own_authorization else [(b"authorization", self._authorization)]
        if identity is not None:
            more.append((IDENTITY_HEADER.encode("ascii"), identity.encode("ascii")))
        connection = await self._connect(peer)
        outer = OuterProblems(send, scope["path"])
        try:
            head = request_head(
                scope,
                connection.origin,
                target=target,
                length=length,
                more=more,
                traceparent=current_traceparent(),
                keep_authorization=own_authorization,
                proxies=self._proxies,
            )
            await forward(
                connection,
                head,
                first,
                receive,
                outer,
                passed=Forwarded(),
                method=scope["method"],
                chunked=length is None,
                max_body=max_body,
                timeout_s=timeout_s,
            )
        except (CallerGone, AnswerBroke) as error:
            if outer.holds_back and isinstance(error, AnswerBroke):
                msg = f"The answer of {peer.name} broke off."
                raise UpstreamFailed(msg) from error
            return  # nobody to tell, or no way to: the server ends a connection whose answer is unfinished
        except AnswerTooLate as error:
            msg = f"{peer.name} did not answer within {timeout_s:g} s."
            raise UpstreamTimeout(msg) from error
        except UpstreamError as error:
            msg = f"The connection to {peer.name} broke."
            raise UpstreamFailed(msg) from error
        finally:
            self._pool.give_back(connection)

    async def _connect(self, peer: Peer) -> Connection:
        origin = self._pool.origin(peer.base_url)
        for wait_s in (*_CONNECT_AGAIN_S, None):
            try:
                return await self._pool.take(origin)
            except CannotConnect as error:
                if wait_s is None:
                    msg = f"{peer.name} cannot be reached."
                    raise Unavailable(msg, retry_after=2) from error
                await asyncio.sleep(wait_s)
        raise AssertionError  # the loop returns or raises


class Relayed(Response):
    """A route's answer that another service gives: returned by a route, streamed when it is sent."""

    def __init__(  # the parts of one request
        self,
        relay: Relay,
        peer: Peer,
        path: str,
        *,
        query: Mapping[str, object] | None = None,
        identity: str | None = None,
        timeout_s: float = 30,
    ) -> None:
        """Ask ``peer`` for ``path``; parameters that are None are left out."""
        super().__init__()
        given = {name: value for name, value in (query or {}).items() if value is not None}
        self._relay = relay
        self._peer = peer
        self._target = (f"{path}?{urlencode(given)}" if given else path).encode("ascii")
        self._identity = identity
        self._timeout_s = timeout_s

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Relay the request."""
        await self._relay(
            scope,
            receive,
            send,
            peer=self._peer,
            target=self._target,
            identity=self._identity,
            timeout_s=self._timeout_s,
        )
