"""Services that run elsewhere: which URLs calls may be sent to."""

from __future__ import annotations

import ipaddress
from dataclasses import dataclass
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

from algodock_common.errors import InvalidInput

if TYPE_CHECKING:
    from collections.abc import Collection

__all__ = ["ExternalAddress"]


@dataclass(frozen=True, slots=True)
class ExternalAddress:
    """Where a service that registers itself is called."""

    base_url: str
    host: str
    port: int

    @classmethod
    def parse(cls, url: str, *, own: Collection[tuple[str, int]] = ()) -> ExternalAddress:
        """Read a base URL, without what has no place in one.

        ``own`` are the platform's addresses: a route to one of them would let a caller reach its
        inside through the gateway, or the gateway itself without end.

        Raises:
            InvalidInput: it is no http(s) or grpc URL, has credentials, a query or a fragment, or leads to
                the platform itself or to link-local addresses (where clouds keep their secrets).
        """
        try:
            parts = urlsplit(url)
            port = parts.port or {"http": 80, "https": 443}.get(parts.scheme, 0)
        except ValueError as error:
            raise InvalidInput(f"{url!r} is no URL: {error}") from error
        host = (parts.hostname or "").rstrip(".")
        if parts.scheme not in {"http", "https", "grpc"} or not host:
            raise InvalidInput(f"{url!r} is no http:// or https:// URL with a host, nor grpc:// with one")
        if parts.scheme == "grpc" and (not port or parts.path.strip("/")):
            raise InvalidInput(f"{url!r}: the URL of a gRPC service is grpc://host:port")
        if parts.username is not None or parts.password is not None or parts.query or parts.fragment:
            msg = "the URL of a service has no user, password, query or fragment"
            raise InvalidInput(msg)
        if _link_local(host):
            raise InvalidInput(f"{host} is a link-local address")
        if (_plain(host), port) in {(_plain(own_host), own_port) for own_host, own_port in own}:
            raise InvalidInput(f"{host}:{port} is the platform itself")
        shown = f"[{host}]" if ":" in host else host
        return cls(f"{parts.scheme}://{shown}:{port}{parts.path.rstrip('/')}", host, port)


def _plain(host: str) -> str:
    """Return one spelling for all names of this machine's loopback."""
    if host.lower() == "localhost":
        return "loopback"
    try:
        address = ipaddress.ip_address(host)
    except ValueError:
        return host.lower()
    mapped = getattr(address, "ipv4_mapped", None) or address
    return "loopback" if mapped.is_loopback or mapped.is_unspecified else str(mapped)


def _link_local(host: str) -> bool:
    try:
        address = ipaddress.ip_address(host)
    except ValueError:
        return False
    return (getattr(address, "ipv4_mapped", None) or address).is_link_local
