"""Where a callback may go: the checks that keep a caller's URL from reaching inside (SSRF)."""

from __future__ import annotations

from ipaddress import IPv4Address, IPv6Address, IPv6Network, ip_address, ip_network
from urllib.parse import urlsplit

from algodock_runner.domain.errors import CallbackAddressRefused

__all__ = ["check_address", "check_callback_url"]

_NAT64 = (IPv6Network("64:ff9b::/96"), IPv6Network("64:ff9b:1::/48"))
_SHARED = ip_network("100.64.0.0/10")


def check_callback_url(url: str, *, allow_private: bool) -> None:
    """Check what can be told from the URL alone; names are resolved, and checked, at each delivery.

    Raises:
        CallbackAddressRefused: no http(s) URL with a host, one with a user in it, or a refused address.
    """
    try:
        parts = urlsplit(url)
        host, _port = parts.hostname, parts.port
    except ValueError as error:
        msg = f"callback_url: {error}"
        raise CallbackAddressRefused(msg) from error
    if parts.scheme not in {"http", "https"} or not host:
        msg = "callback_url: must be an http or https URL with a host"
        raise CallbackAddressRefused(msg)
    if "@" in parts.netloc:
        msg = "callback_url: must not carry a user or password"
        raise CallbackAddressRefused(msg)
    if any(character <= " " or character == "\x7f" for character in url):
        msg = "callback_url: must not contain spaces or control characters"
        raise CallbackAddressRefused(msg)
    literal = host.rstrip(".")
    try:
        ip_address(literal)
    except ValueError:
        if literal.rsplit(".", 1)[-1].startswith("0x") or literal.rsplit(".", 1)[-1].isdigit():
            # 127.1, 0x7f000001, 2130706433: some resolvers read them as addresses; no host is named so.
            msg = "callback_url: its host is no name and no address in the usual form"
            raise CallbackAddressRefused(msg) from None
        return
    check_address(literal, allow_private=allow_private)


def check_address(text: str, *, allow_private: bool) -> None:
    """Check an address that a callback is about to connect to.

    ``allow_private`` lets loopback, private and shared (CGNAT) ranges pass; link-local (where clouds
    keep their metadata), multicast and unspecified ones never do.

    Raises:
        CallbackAddressRefused: it is not to be reached by callbacks.
    """
    address = ip_address(text.split("%", 1)[0])
    for one in (address, *_carried(address)):
        if not _allowed(one, allow_private=allow_private):
            msg = f"callback_url: {address} is not a public address"
            raise CallbackAddressRefused(msg)


def _carried(address: IPv4Address | IPv6Address) -> list[IPv4Address]:
    """Return the IPv4 addresses that an IPv6 address stands for or tunnels to."""
    if isinstance(address, IPv4Address):
        return []
    found = [one for one in (address.ipv4_mapped, address.sixtofour) if one is not None]
    if address.teredo is not None:
        found.extend(address.teredo)
    if any(address in network for network in _NAT64):
        found.append(IPv4Address(int(address) & 0xFFFF_FFFF))
    if int(address) >> 32 == 0 and int(address) > 1:  # the old ::a.b.c.d
        found.append(IPv4Address(int(address)))
    return found


def _allowed(address: IPv4Address | IPv6Address, *, allow_private: bool) -> bool:
    if address.is_link_local or address.is_multicast or address.is_unspecified:
        return False
    if allow_private and (address.is_loopback or address.is_private or address in _SHARED):
        return True
    if isinstance(address, IPv6Address) and any(address in network for network in _NAT64):
        return True  # what it stands for is checked by itself
    return address.is_global and not address.is_reserved
