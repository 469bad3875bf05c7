"""Which headers pass through the gateway, in both directions, and which it adds."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from algodock_common.observability import current_traceparent

if TYPE_CHECKING:
    from collections.abc import Iterable

    from starlette.types import Scope

    from algodock_gateway.clients.upstream import Origin

__all__ = ["Headers", "answer_headers", "header_of", "request_head"]

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

_NOT_ANSWERED: Final = _HOP_BY_HOP | {b"date", b"server"}  # the gateway's own server writes these

_PLAIN_CONNECTION: Final = frozenset({b"keep-alive", b"close"})


def header_of(scope: Scope, name: bytes) -> bytes | None:
    """Return the first value of a header, or None."""
    for key, value in scope["headers"]:
        if key == name:
            found: bytes = value
            return found
    return None


def request_head(  # noqa: PLR0913  # keyword-only parts of one head
    scope: Scope,
    origin: Origin,
    *,
    target: bytes,
    length: int | None,
    prefix: bytes = b"",
    more: Iterable[tuple[bytes, bytes]] = (),
    replace_traceparent: bool = False,
    keep_authorization: bool = False,
) -> bytes:
    """Return the head of the request to an instance.

    ``target`` is the path with its query. ``length`` is the body's; None stands for a body of unknown
    length, which is sent in chunks; -1 for none. ``prefix`` is what was taken off the path.
    ``more`` are headers that replace nothing; with ``replace_traceparent`` the current span's takes
    the caller's place.
    """
    method = scope["method"].encode("ascii")
    parts = [method, b" ", origin.prefix, target, b" HTTP/1.1\r\nhost: ", origin.authority, b"\r\n"]
    add = parts.append
    host = forwarded = named = None
    for name, value in scope["headers"]:
        if name not in _NOT_FORWARDED:
            if replace_traceparent and name == b"traceparent":
                continue
            add(name)
            add(b": ")
            add(value)
            add(b"\r\n")
        elif name == b"host":
            host = value
        elif name == b"x-forwarded-for":
            forwarded = value
        elif name == b"authorization" and keep_authorization:
            add(b"authorization: " + value + b"\r\n")
        elif name == b"connection" and value.lower() not in _PLAIN_CONNECTION:
            named = value
    if named is not None:
        _drop_named(parts, named)
    client = scope["client"]
    if client is not None:
        address = client[0].encode("ascii", "replace")
        add(b"x-forwarded-for: " + (address if forwarded is None else forwarded + b", " + address) + b"\r\n")
    add(b"x-forwarded-proto: " + scope["scheme"].encode("ascii") + b"\r\n")
    if host is not None:
        add(b"x-forwarded-host: " + host + b"\r\n")
    if replace_traceparent:
        add(b"traceparent: " + (current_traceparent() or "").encode("ascii") + b"\r\n")
    if prefix:
        add(b"x-forwarded-prefix: " + prefix + b"\r\n")
    for name, value in more:
        add(name + b": " + value + b"\r\n")
    if length is None:
        add(b"transfer-encoding: chunked\r\n\r\n")
    elif length >= 0:
        add(b"content-length: %d\r\n\r\n" % length)
    else:
        add(b"\r\n")
    return b"".join(parts)


def _drop_named(parts: list[bytes], named: bytes) -> None:
    """Take out headers that ``Connection`` names as its own; ``parts`` holds name, colon, value, end."""
    dropped = {token.strip().lower() for token in named.split(b",")}
    index = 7  # behind the request line and Host
    while index < len(parts):
        if parts[index] in dropped and parts[index + 1] == b": ":
            del parts[index : index + 4]
        else:
            index += 1


def answer_headers(headers: Headers) -> Headers:
    """Return the headers of an instance's answer that the caller gets."""
    return [pair for pair in headers if pair[0] not in _NOT_ANSWERED]
