"""How services call each other: HTTP with the service token, the trace, and typed errors both ways."""

from __future__ import annotations

import json
from collections.abc import AsyncIterable, AsyncIterator, Iterator, Mapping
from contextlib import asynccontextmanager, contextmanager
from time import perf_counter
from typing import TYPE_CHECKING, Any, Final, Self, TypeAlias, TypedDict, Unpack
from urllib.parse import urlsplit

import httpx

from algodock_common.errors import (
    PROBLEM_CONTENT_TYPE,
    AlgoDockError,
    Unavailable,
    UpstreamFailed,
    UpstreamTimeout,
    error_from_problem,
)
from algodock_common.observability.metrics import HTTP_CLIENT_SECONDS
from algodock_common.observability.tracing import current_traceparent, span
from algodock_common.web.identity import IDENTITY_HEADER
from algodock_common.web.service_auth import ServiceTokenRefused

if TYPE_CHECKING:
    from algodock_common.settings import SecretSettings

__all__ = ["InternalClient"]

# A refused connection carried nothing, so even a POST may be tried again: a service that is being
# restarted is back within a second or two.
_CONNECT_RETRIES: Final = 3
_CONNECT_S: Final = 3.0
_IDEMPOTENT: Final = frozenset({"GET", "HEAD", "PUT", "DELETE"})


Json: TypeAlias = Any
"""What JSON can say; the caller knows the shape."""


class RequestOptions(TypedDict, total=False):
    """What a call may carry. ``identity`` is a signed identity header to pass on; the rest as in httpx.

    Parameters that are None are left out.
    """

    json: object
    params: Mapping[str, str | int | float | bool | None]
    content: bytes | AsyncIterable[bytes]
    files: Any
    headers: Mapping[str, str] | None
    identity: str | None
    timeout_s: float | None


class InternalClient:
    """A connection pool to one other service.

    Every call raises the typed error that the other service's problem document stands for;
    ``Unavailable`` when it cannot be reached, ``UpstreamTimeout`` when it does not answer in time,
    ``UpstreamFailed`` when it answers with something else. Paths begin with a slash.
    """

    def __init__(
        self,
        base_url: str,
        secrets: SecretSettings,
        *,
        timeout_s: float = 10,
        transport: httpx.AsyncBaseTransport | None = None,
    ) -> None:
        """Prepare the pool; nothing is sent. ``transport`` lets a test call an application in place."""
        self._peer = urlsplit(base_url).netloc
        self._http = httpx.AsyncClient(
            base_url=base_url,
            headers={"authorization": f"Bearer {secrets.service_token()}"},
            timeout=_timeout(timeout_s),
            transport=transport
            or httpx.AsyncHTTPTransport(
                retries=_CONNECT_RETRIES,
                # Shorter than the servers' own: a pooled connection is never one that they just closed.
                limits=httpx.Limits(max_connections=64, max_keepalive_connections=8, keepalive_expiry=10),
            ),
            trust_env=False,
        )

    async def __aenter__(self) -> Self:
        """Return the client itself."""
        return self

    async def __aexit__(self, *_: object) -> None:
        """Close the pool."""
        await self.close()

    async def close(self) -> None:
        """Close the pool."""
        await self._http.aclose()

    async def get(self, path: str, **options: Unpack[RequestOptions]) -> Json:
        """Return the JSON at ``path``."""
        return _json(await self.request("GET", path, **options))

    async def post(self, path: str, **options: Unpack[RequestOptions]) -> Json:
        """Post and return the answer's JSON, None for one without a body."""
        return _json(await self.request("POST", path, **options))

    async def put(self, path: str, **options: Unpack[RequestOptions]) -> Json:
        """Put and return the answer's JSON, None for one without a body."""
        return _json(await self.request("PUT", path, **options))

    async def delete(self, path: str, **options: Unpack[RequestOptions]) -> Json:
        """Delete what is at ``path`` and return the answer's JSON, None for one without a body."""
        return _json(await self.request("DELETE", path, **options))

    async def request(self, method: str, path: str, **options: Unpack[RequestOptions]) -> httpx.Response:
        """Send one request and return its successful answer (2xx or 3xx) as it came."""
        async with self.stream(method, path, **options) as response:
            with _typed_failures(self._peer):
                await response.aread()
            return response

    @asynccontextmanager
    async def stream(self, method: str, path: str, **options: Unpack[RequestOptions]) -> AsyncIterator[httpx.Response]:
        """Send one request and give the successful answer while its body is still to be read."""
        started, status = perf_counter(), 0
        with span(f"{method} {self._peer}", kind="client") as handle:
            if handle.recording:
                handle.set(http__request__method=method, server__address=self._peer, url__path=path)
            try:
                response = await self._send(self._request(method, path, options))
                status = response.status_code
                handle.set(http__response__status_code=status)
                try:
                    if response.is_error:
                        raise await _error_of(response, self._peer)
                    yield response
                finally:
                    await response.aclose()
            finally:
                HTTP_CLIENT_SECONDS.labels(method, self._peer, str(status)).observe(perf_counter() - started)

    def _request(self, method: str, path: str, options: RequestOptions) -> httpx.Request:
        timeout_s = options.get("timeout_s")
        return self._http.build_request(
            method,
            path,
            json=options.get("json"),
            params={name: value for name, value in (options.get("params") or {}).items() if value is not None},
            content=options.get("content"),
            files=options.get("files"),
            headers=_headers(options.get("identity"), options.get("headers")),
            timeout=self._http.timeout if timeout_s is None else _timeout(timeout_s),
        )

    async def _send(self, request: httpx.Request) -> httpx.Response:
        with _typed_failures(self._peer):
            try:
                return await self._http.send(request, stream=True)
            except httpx.RemoteProtocolError:
                # The server closed a pooled connection as the request left; a repeat changes nothing more.
                if request.method not in _IDEMPOTENT:
                    raise
                return await self._http.send(request, stream=True)


@contextmanager
def _typed_failures(peer: str) -> Iterator[None]:
    try:
        yield
    except (httpx.ConnectError, httpx.ConnectTimeout) as error:
        msg = f"{peer} cannot be reached."
        raise Unavailable(msg, retry_after=1) from error
    except httpx.TimeoutException as error:
        msg = f"{peer} did not answer in time."
        raise UpstreamTimeout(msg) from error
    except httpx.TransportError as error:
        msg = f"The connection to {peer} broke."
        raise Unavailable(msg, retry_after=1) from error


def _timeout(seconds: float) -> httpx.Timeout:
    return httpx.Timeout(seconds, connect=min(seconds, _CONNECT_S))


def _headers(identity: str | None, more: Mapping[str, str] | None) -> dict[str, str]:
    headers = dict(more or {})
    traceparent = current_traceparent()
    if traceparent is not None:
        headers["traceparent"] = traceparent
    if identity is not None:
        headers[IDENTITY_HEADER] = identity
    return headers


def _json(response: httpx.Response) -> Json:
    if response.status_code == httpx.codes.NO_CONTENT or not response.content:
        return None
    try:
        return response.json()
    except ValueError as error:
        msg = f"{response.request.url.netloc.decode()} answered with something that is not JSON."
        raise UpstreamFailed(msg) from error


async def _error_of(response: httpx.Response, peer: str) -> AlgoDockError:
    with _typed_failures(peer):
        body = await response.aread()
    retry_after = _seconds(response.headers.get("retry-after"))
    if response.headers.get("content-type", "").startswith(PROBLEM_CONTENT_TYPE):
        try:
            problem = json.loads(body)
        except ValueError:
            problem = None
        if isinstance(problem, dict):
            error = error_from_problem(response.status_code, problem, retry_after=retry_after)
            if error.code == ServiceTokenRefused.code:
                # Not the fault of whoever this call is made for, so it must not reach them as a 401.
                return UpstreamFailed(f"{peer} refused the service token: its SECRET_KEY is another.")
            return error
    if response.status_code == httpx.codes.SERVICE_UNAVAILABLE:
        return Unavailable(f"{peer} is not available.", retry_after=retry_after or 1)
    return UpstreamFailed(f"{peer} answered {response.status_code} without saying why.")


def _seconds(value: str | None) -> float | None:
    return float(value) if value is not None and value.isdigit() else None
