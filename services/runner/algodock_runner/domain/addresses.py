"""Where a callback may go: the checks that keep a caller's URL from reaching inside (SSRF).

What is public is listed, not what is private: an address of a range that nobody thought of is refused.
"""

from __future__ import annotations

from dataclasses import dataclass
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network, ip_address, ip_network
from urllib.parse import urlsplit

from algodock_runner.domain.errors import CallbackAddressRefused

__all__ = ["Destination", "Destinations", "Network", "Ports", "parse_networks", "parse_ports"]

Network = IPv4Network | IPv6Network
Ports = tuple[tuple[int, int], ...]
"""Ranges, both ends included."""

LONGEST_URL = 2048
LAST_PORT = 65_535
_DEFAULT_PORTS = {"http": 80, "https": 443}

_PRIVATE: tuple[Network, ...] = tuple(
    ip_network(one)
    for one in ("127.0.0.0/8", "10.0.0.0/8", "172.16.0.0/12", "192.168.0.0/16", "100.64.0.0/10", "::1/128", "fc00::/7")
)
_NEVER: tuple[Network, ...] = tuple(
    ip_network(one)
    for one in (
        "0.0.0.0/8", "169.254.0.0/16", "224.0.0.0/4", "255.255.255.255/32",
        "::/128", "fe80::/10", "fec0::/10", "ff00::/8",
    )
)  # fmt: skip
_NAT64 = IPv6Network("64:ff9b::/96")
_PUBLIC_IPV6 = IPv6Network("2000::/3")
_NOT_PUBLIC: tuple[Network, ...] = tuple(
    ip_network(one)
    for one in (
        "192.0.0.0/24", "192.0.2.0/24", "192.88.99.0/24", "198.18.0.0/15", "198.51.100.0/24", "203.0.113.0/24",
        "240.0.0.0/4",
        "2001::/23", "2001:db8::/32", "2002::/16", "3fff::/20", "3ffe::/16", "5f00::/16",
    )
)  # fmt: skip
"""Reserved for protocols (Teredo among them), benchmarks and documentation; 6to4, and its relays."""

_ISATAP = (0x0000_5EFE, 0x0200_5EFE)


@dataclass(frozen=True, slots=True)
class Destination:
    """A callback's URL, read once: what is checked is what is connected to."""

    scheme: str
    host: str
    port: int


@dataclass(frozen=True, slots=True)
class Destinations:
    """Which URLs and addresses callbacks may reach.

    ``allow_private`` lets loopback, private and shared (CGNAT) addresses pass, ``networks`` those of
    the named networks. Link-local (where clouds keep their metadata), multicast and unspecified ones
    never pass. ``ports`` are the allowed ones.
    """

    allow_private: bool = False
    networks: tuple[Network, ...] = ()
    ports: Ports = ((1, LAST_PORT),)

    def check_url(self, url: str) -> Destination:
        """Check what can be told from the URL alone; names are resolved, and checked, when it is connected to.

        Raises:
            CallbackAddressRefused: no http(s) URL with a host, one with a user in it, a refused port or address.
        """
        if len(url) > LONGEST_URL:
            raise _refused(f"must not be longer than {LONGEST_URL} characters")
        if any(character <= " " or character in "\x7f\\" for character in url):
            raise _refused("must not contain spaces, control characters or backslashes")
        try:
            parts = urlsplit(url)
            host, port = parts.hostname, parts.port
        except ValueError as error:
            raise _refused(str(error)) from error
        if parts.scheme not in _DEFAULT_PORTS or not host:
            raise _refused("must be an http or https URL with a host")
        if "@" in parts.netloc:
            raise _refused("must not carry a user or password")
        port = _DEFAULT_PORTS[parts.scheme] if port is None else port
        if not any(first <= port <= last for first, last in self.ports):
            raise _refused(f"port {port} is not one that callbacks may go to")
        host = _as_connected(host)
        try:
            ip_address(host)
        except ValueError:
            if _looks_like_an_address(host):
                raise _refused("its host is no name and no address in the usual form") from None
        else:
            self.check_address(host)
        return Destination(parts.scheme, host, port)

    def check_address(self, text: str) -> None:
        """Check an address that a callback is about to connect to.

        Raises:
            CallbackAddressRefused: it is not to be reached by callbacks.
        """
        address = ip_address(text.split("%", 1)[0])
        if isinstance(address, IPv6Address) and address.ipv4_mapped is not None:
            address = address.ipv4_mapped  # the kernel connects to that one
        if not all(self._allowed(one) for one in (address, *_carried(address))):
            raise _refused(f"{address} is not a public address")

    def _allowed(self, address: IPv4Address | IPv6Address) -> bool:
        if _in(address, _NEVER):
            return False
        if _in(address, self.networks) or (self.allow_private and _in(address, _PRIVATE)):
            return True
        if _in(address, _NOT_PUBLIC) or not (address.is_global or address in _NAT64):
            return False
        return isinstance(address, IPv4Address) or address in _PUBLIC_IPV6 or address in _NAT64


def parse_networks(text: str) -> tuple[Network, ...]:
    """Read networks separated by commas, ``10.1.0.0/16,fd00::/8``.

    Raises:
        ValueError: one of them is none, or has bits behind its mask.
    """
    return tuple(ip_network(one.strip()) for one in text.split(",") if one.strip())


def parse_ports(text: str) -> Ports:
    """Read ports and ranges of ports separated by commas, ``80,443,8000-8999``.

    Raises:
        ValueError: one of them is none.
    """
    found = []
    for one in text.split(","):
        first, _, last = one.strip().partition("-")
        low, high = int(first), int(last or first)
        if not 1 <= low <= high <= LAST_PORT:
            msg = f"{one!r} is no range of ports"
            raise ValueError(msg)
        found.append((low, high))
    return tuple(found)


def _as_connected(host: str) -> str:
    """Return the host as it is looked up: ASCII, so that no other way to write dots or digits is left."""
    if not host.isascii():
        try:
            host = host.encode("idna").decode("ascii")
        except UnicodeError as error:
            raise _refused(f"its host is no name: {error}") from error
    return host.rstrip(".")


def _looks_like_an_address(host: str) -> bool:
    """Say whether some resolvers would read it as one: 127.1, 0x7f000001, 2130706433; no host is named so."""
    last = host.rsplit(".", 1)[-1]
    return not last or last.isdigit() or last.startswith("0x") or ":" in host


def _carried(address: IPv4Address | IPv6Address) -> list[IPv4Address]:
    """Return the IPv4 addresses that an IPv6 address stands for or tunnels to."""
    if isinstance(address, IPv4Address):
        return []
    number = int(address)
    found = [] if address.sixtofour is None else [address.sixtofour]
    found.extend(address.teredo or ())
    old_compatible = number >> 32 == 0 and number > 1
    if address in _NAT64 or old_compatible or (number >> 32) & 0xFFFF_FFFF in _ISATAP:
        found.append(IPv4Address(number & 0xFFFF_FFFF))
    return found


def _in(address: IPv4Address | IPv6Address, networks: tuple[Network, ...]) -> bool:
    return any(address in network for network in networks)


def _refused(what: str) -> CallbackAddressRefused:
    return CallbackAddressRefused(f"callback_url: {what}")
