"""Which headers pass through the gateway, in both directions, and which it adds."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Iterable

    from starlette.types import Message, Scope

    from algodock_common.upstream import Origin

__all__ = [
    "NOT_ANSWERED", "Headers", "answer_headers", "body_length_of", "declared_length", "header_of", "length_to_declare",
    "request_head",
]  # fmt: skip

Headers = list[tuple[bytes, bytes]]

_HOP_BY_HOP: Final = frozenset(
    {
        b"connection",
        b"keep-alive",
        b"proxy-authenticate",
        b"proxy-authorization",
        b"proxy-connection",
        b"te",
        b"trailer",
        b"transfer-encoding",
        b"upgrade",
    }
)
"""RFC 9110, section 7.6.1: they speak of one connection only."""

_NOT_FORWARDED: Final = _HOP_BY_HOP | {
    b"authorization",  # the caller's key is nothing for an algorithm
    b"content-length",  # written anew
    b"expect",  # answered here
    b"host",
    b"x-algodock-identity",  # only the gateway says who somebody is
    b"x-forwarded-for",
    b"x-forwarded-host",
    b"x-forwarded-prefix",
    b"x-forwarded-proto",
}

NOT_ANSWERED: Final = _HOP_BY_HOP | {b"date", b"server"}
"""Headers of an answer that stay here; the gateway's own server writes date and server."""

_WITHOUT_BODY: Final = frozenset({204, 304})
_NOT_ANSWERED_WITHOUT_BODY: Final = NOT_ANSWERED | {b"content-length"}

_WITH_BODY: Final = frozenset({"POST", "PUT", "PATCH"})

_PLAIN_CONNECTION: Final = frozenset({b"keep-alive", b"close"})


def header_of(scope: Scope, name: bytes) -> bytes | None:
    """Return the first value of a header, or None."""
    for key, value in scope["headers"]:
        if key == name:
            found: bytes = value
            return found
    return None


def request_head(  # noqa: PLR0913  # the parts of one head, by name
    scope: Scope,
    origin: Origin,
    *,
    target: bytes,
    length: int | None,
    prefix: bytes = b"",
    more: Iterable[tuple[bytes, bytes]] = (),
    traceparent: str | None = None,
    keep_authorization: bool = False,
    proxies: frozenset[str] = frozenset(),
) -> bytes:
    """Return the head of the request to an instance.

    ``target`` is the path with its query. ``length`` is the body's; None stands for a body of unknown
    length, which is sent in chunks; -1 for none. ``prefix`` is what was taken off the path.
    ``more`` are headers that replace nothing; ``traceparent`` takes the place of the caller's.
    ``proxies`` are addresses of edges in front of the gateway, whose word on scheme and host counts.
    """
    method = scope["method"].encode("ascii")
    parts = [method, b" ", origin.prefix, target, b" HTTP/1.1\r\nhost: ", origin.authority, b"\r\n"]
    held = _pass_on(scope["headers"], parts, b"traceparent" if traceparent is not None else None)
    if (connection := held.get(b"connection")) is not None and connection.lower() not in _PLAIN_CONNECTION:
        _drop_named(parts, connection)
    scheme, host = scope["scheme"].encode("ascii"), held.get(b"host")
    client = scope["client"]
    if client is not None:
        address = client[0].encode("ascii", "replace")
        if client[0] in proxies:
            scheme = held.get(b"x-forwarded-proto", scheme)
            host = held.get(b"x-forwarded-host", host)
        before = held.get(b"x-forwarded-for")
        parts.append(b"x-forwarded-for: " + (address if before is None else before + b", " + address) + b"\r\n")
    parts.append(b"x-forwarded-proto: " + scheme + b"\r\n")
    if host is not None:
        parts.append(b"x-forwarded-host: " + host + b"\r\n")
    if prefix:
        parts.append(b"x-forwarded-prefix: " + prefix + b"\r\n")
    if traceparent is not None:
        parts.append(b"traceparent: " + traceparent.encode("ascii") + b"\r\n")
    if keep_authorization and (authorization := held.get(b"authorization")) is not None:
        parts.append(b"authorization: " + authorization + b"\r\n")
    for name, value in more:
        parts.append(name + b": " + value + b"\r\n")
    parts.append(_framing(length))
    return b"".join(parts)


def _pass_on(headers: Headers, parts: list[bytes], replaced: bytes | None) -> dict[bytes, bytes]:
    """Append the headers that pass, each as four parts; return those that are held back."""
    held: dict[bytes, bytes] = {}
    add = parts.append
    for name, value in headers:
        if name in _NOT_FORWARDED or name == replaced:
            held[name] = value
        else:
            add(name)
            add(b": ")
            add(value)
            add(b"\r\n")
    return held


def _framing(length: int | None) -> bytes:
    if length is None:
        return b"transfer-encoding: chunked\r\n\r\n"
    return b"content-length: %d\r\n\r\n" % length if length >= 0 else b"\r\n"


def _drop_named(parts: list[bytes], named: bytes) -> None:
    """Take out headers that ``Connection`` names as its own."""
    dropped = {token.strip().lower() for token in named.split(b",")}
    index = 7  # behind the request line and Host
    while index < len(parts):
        if parts[index] in dropped:
            del parts[index : index + 4]
        else:
            index += 4


def answer_headers(headers: Headers, status: int) -> Headers:
    """Return the headers of an instance's answer that the caller gets.

    A 204 or 304 may say how long a body would have been; the server would wait for it.
    """
    held = _NOT_ANSWERED_WITHOUT_BODY if status in _WITHOUT_BODY else NOT_ANSWERED
    return [pair for pair in headers if pair[0] not in held]


def declared_length(value: bytes | None) -> int | None:
    """Return the body's length as its Content-Length declares it."""
    return int(value) if value is not None and value.isdigit() else None


def body_length_of(first: Message, declared: int | None, method: str) -> int:
    """Return the length of a body that came whole; -1 where the request has none and needs to declare none."""
    return length_to_declare(len(first.get("body", b"")), method, declared=declared is not None)


def length_to_declare(length: int, method: str, *, declared: bool) -> int:
    """Return ``length``; -1 where there is no body and the request needs to declare none."""
    return length if length or declared or method in _WITH_BODY else -1
