"""Is an instance well? Asked by calling its health path, or by ``grpc.health.v1``."""

from __future__ import annotations

import asyncio
from typing import Protocol

import httpx

from algodock_common.grpc_health import GRPC, ask_grpc_health

__all__ = ["FakeProbe", "HealthProbe", "HttpProbe"]


class HealthProbe(Protocol):
    """Asks an instance how it is."""

    async def ailment(self, base_url: str, path: str) -> str | None:
        """Return None when the instance is well, else in a few words what is wrong."""
        ...


class HttpProbe:
    """``GET <base_url><path>``; any 2xx is well. A redirect is not followed: instances are strangers.

    Whose base URL is ``grpc://…`` is asked by gRPC's own health protocol; the path's rest is the service's name.
    """

    def __init__(self, *, timeout_s: float, parallel: int) -> None:
        """At most ``parallel`` probes run at once, each ``timeout_s`` seconds at the longest."""
        self._timeout_s = timeout_s
        self._places = asyncio.Semaphore(parallel)
        self._client = httpx.AsyncClient(
            timeout=httpx.Timeout(timeout_s, pool=None),
            # A new connection each time: that it is accepted is part of the answer.
            limits=httpx.Limits(max_connections=parallel, max_keepalive_connections=0),
            trust_env=False,
            headers={"user-agent": "algodock-registry"},
        )

    async def ailment(self, base_url: str, path: str) -> str | None:
        """Ask; the body is not read."""
        if base_url.startswith(f"{GRPC}://"):
            async with self._places:
                health = await ask_grpc_health(base_url + path, timeout_s=self._timeout_s)
            return None if health.well else health.said
        try:
            async with self._client.stream("GET", base_url + path) as answer:
                return None if answer.is_success else f"answered {answer.status_code}"
        except httpx.TimeoutException:
            return "did not answer in time"
        except (httpx.HTTPError, httpx.InvalidURL) as error:
            return str(error) or type(error).__name__

    async def close(self) -> None:
        """Close what is open."""
        await self._client.aclose()


class FakeProbe:
    """Instances that are well unless ``ill`` says of their base URL what is wrong."""

    def __init__(self) -> None:
        """Begin with everybody well."""
        self.ill: dict[str, str] = {}
        self.asked: list[str] = []

    async def ailment(self, base_url: str, path: str) -> str | None:
        """Answer from ``ill``."""
        self.asked.append(base_url + path)
        return self.ill.get(base_url)
