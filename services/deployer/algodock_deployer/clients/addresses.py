"""Which addresses models may come from: never this machine's own, nor those where clouds keep their metadata."""

from __future__ import annotations

import socket
from ipaddress import IPv4Address, IPv6Address, IPv6Network, ip_address, ip_network
from typing import Final
from urllib.parse import urlsplit

import aiohttp
from aiohttp.abc import AbstractResolver, ResolveResult

from algodock_deployer.domain.errors import ModelRefused

__all__ = ["CheckedResolver", "check_address", "origin_of"]

_NAT64: Final = IPv6Network("64:ff9b::/96")
_THIS_HOST: Final = ip_network("0.0.0.0/8")


class CheckedResolver(AbstractResolver):
    """Resolves a name once and hands on only what was checked."""

    def __init__(self, trusted: set[tuple[str, str, int]]) -> None:
        """``trusted`` are origins that may be anywhere, as ``origin_of`` returns them."""
        self._trusted = {(host, port) for _, host, port in trusted}
        self._inner = aiohttp.ThreadedResolver()

    async def resolve(
        self, host: str, port: int = 0, family: socket.AddressFamily = socket.AF_UNSPEC
    ) -> list[ResolveResult]:
        """Return the host's addresses.

        Raises:
            ModelRefused: one of them is none that models come from.
            OSError: the name has no address.
        """
        found = await self._inner.resolve(host, port, family)
        if (host, port) not in self._trusted:
            for one in found:
                check_address(host, ip_address(one["host"].split("%", 1)[0]))
        return found

    async def close(self) -> None:
        """Let go of the resolver."""
        await self._inner.close()


def check_address(host: str, address: IPv4Address | IPv6Address) -> None:
    """See to it that an address, and the IPv4 address that it carries, is not one inside.

    Raises:
        ModelRefused: it is.
    """
    if isinstance(address, IPv6Address):
        carried = address.ipv4_mapped
        if address in _NAT64:
            carried = IPv4Address(int(address) & 0xFFFFFFFF)
        if carried is not None:
            address = carried
    inside = address.is_loopback or address.is_link_local or address.is_unspecified or address.is_multicast
    if inside or (isinstance(address, IPv4Address) and address in _THIS_HOST):
        raise ModelRefused(f"{host} is {address}, and models do not come from this machine's own addresses")


def origin_of(url: str) -> tuple[str, str, int]:
    """Return scheme, host and port of a URL."""
    parts = urlsplit(url if "://" in url else f"http://{url}")
    return parts.scheme, parts.hostname or "", parts.port or (443 if parts.scheme == "https" else 80)
