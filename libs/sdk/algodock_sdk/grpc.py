"""Calls of gRPC services at the platform's gRPC port: stubs stay as they are, this adds the service's name and the key.

Needs grpcio (``pip install 'algodock-sdk[grpc]'``)::

    with channel("edge.example.com:6006", "echo-grpc", key) as opened:
        EchoStub(opened).Say(Words(text="hello"))

    async with aio_channel("edge.example.com:6006", "echo-grpc", key) as opened:
        await EchoStub(opened).Say(Words(text="hello"))
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import grpc
import grpc.aio

__all__ = ["AlgorithmInterceptor", "aio_channel", "aio_interceptors", "channel"]

_NAME = re.compile(r"[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?")


class _Details(NamedTuple):
    """A call as grpcio's synchronous interceptors hand it on."""

    method: str
    timeout: float | None
    metadata: Sequence[tuple[str, str | bytes]] | None
    credentials: Any
    wait_for_ready: bool | None
    compression: Any


class _Addition:
    """What is added to each call: the algorithm's name before the method, the key in the metadata."""

    def __init__(self, name: str, key: str | None) -> None:
        if _NAME.fullmatch(name) is None:
            msg = f"{name!r} is no name of an algorithm"
            raise ValueError(msg)
        self._name = name
        self._authorization = None if key is None else f"Bearer {key}"

    def path(self, method: str | bytes) -> str:
        """Return ``/<name>/<package.Service>/<Method>``."""
        plain = method.decode("ascii") if isinstance(method, bytes) else method
        return f"/{self._name}{plain}"

    def metadata(self, given: Any) -> list[tuple[str, str | bytes]]:
        """Return the call's metadata with the key; a call that brings an ``authorization`` of its own keeps it."""
        pairs = list(given or ())
        if self._authorization is not None and all(name.lower() != "authorization" for name, _ in pairs):
            pairs.append(("authorization", self._authorization))
        return pairs


class AlgorithmInterceptor(
    grpc.UnaryUnaryClientInterceptor,  # type: ignore[misc]  # grpcio is published without types
    grpc.UnaryStreamClientInterceptor,  # type: ignore[misc]  # as above
    grpc.StreamUnaryClientInterceptor,  # type: ignore[misc]  # as above
    grpc.StreamStreamClientInterceptor,  # type: ignore[misc]  # as above
):
    """For a channel of one's own: ``grpc.intercept_channel(channel, AlgorithmInterceptor(name, key))``."""

    def __init__(self, name: str, key: str | None = None) -> None:
        """``name`` is the algorithm's, ``key`` an API key; without one each call must bring its own.

        Raises:
            ValueError: ``name`` cannot be an algorithm's.
        """
        self._addition = _Addition(name, key)

    def _intercept(self, go_on: Callable[[Any, Any], Any], details: Any, request: Any) -> Any:
        return go_on(
            _Details(
                self._addition.path(details.method),
                details.timeout,
                self._addition.metadata(details.metadata),
                details.credentials,
                getattr(details, "wait_for_ready", None),
                getattr(details, "compression", None),
            ),
            request,
        )

    intercept_unary_unary = _intercept
    intercept_unary_stream = _intercept
    intercept_stream_unary = _intercept
    intercept_stream_stream = _intercept


class _Aio:
    """The same for ``grpc.aio``, which wants an interceptor of its own for each kind of call."""

    def __init__(self, addition: _Addition) -> None:
        self._addition = addition

    async def _intercept(self, go_on: Callable[[Any, Any], Any], details: Any, request: Any) -> Any:
        changed = grpc.aio.ClientCallDetails(
            self._addition.path(details.method).encode("ascii"),
            details.timeout,
            grpc.aio.Metadata(*self._addition.metadata(details.metadata)),
            details.credentials,
            details.wait_for_ready,
        )
        return await go_on(changed, request)

    intercept_unary_unary = _intercept
    intercept_unary_stream = _intercept
    intercept_stream_unary = _intercept
    intercept_stream_stream = _intercept


class _AioUnaryUnary(_Aio, grpc.aio.UnaryUnaryClientInterceptor):  # type: ignore[misc]  # as above
    pass


class _AioUnaryStream(_Aio, grpc.aio.UnaryStreamClientInterceptor):  # type: ignore[misc]  # as above
    pass


class _AioStreamUnary(_Aio, grpc.aio.StreamUnaryClientInterceptor):  # type: ignore[misc]  # as above
    pass


class _AioStreamStream(_Aio, grpc.aio.StreamStreamClientInterceptor):  # type: ignore[misc]  # as above
    pass


def aio_interceptors(name: str, key: str | None = None) -> list[Any]:
    """Return what ``grpc.aio.insecure_channel(target, interceptors=…)`` takes to reach an algorithm.

    Raises:
        ValueError: ``name`` cannot be an algorithm's.
    """
    addition = _Addition(name, key)
    return [kind(addition) for kind in (_AioUnaryUnary, _AioUnaryStream, _AioStreamUnary, _AioStreamStream)]


def channel(target: str, name: str, key: str | None = None, *, credentials: Any = None) -> Any:
    """Return a channel to an algorithm at the gRPC port ``target`` (``host:port``).

    ``credentials`` are ``grpc.ssl_channel_credentials(…)`` where the edge speaks TLS; without them there is none.

    Raises:
        ValueError: ``name`` cannot be an algorithm's.
    """
    interceptor = AlgorithmInterceptor(name, key)
    opened = grpc.insecure_channel(target) if credentials is None else grpc.secure_channel(target, credentials)
    return grpc.intercept_channel(opened, interceptor)


def aio_channel(target: str, name: str, key: str | None = None, *, credentials: Any = None) -> Any:
    """Return an asyncio channel to an algorithm; the rest is as with ``channel``.

    Raises:
        ValueError: ``name`` cannot be an algorithm's.
    """
    interceptors = aio_interceptors(name, key)
    if credentials is None:
        return grpc.aio.insecure_channel(target, interceptors=interceptors)
    return grpc.aio.secure_channel(target, credentials, interceptors=interceptors)
