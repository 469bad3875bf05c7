"""Looks at an instance from outside: does it answer as healthy, and which ports does it listen on."""

from __future__ import annotations

import asyncio
import json
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

import httpx
import psutil

from algodock_common.grpc_health import GRPC, GrpcHealth, ask_grpc_health
from algodock_deployer.clients.families import family
from algodock_deployer.clients.holders import holder_of
from algodock_deployer.domain.samples import Reply

if TYPE_CHECKING:
    from collections.abc import Sequence

__all__ = ["Answer", "HttpProber", "Listener", "Prober"]

MAX_DOCUMENT = 4 * 2**20
MAX_ANSWER = 32 * 2**20
SAID = 500


@dataclass(frozen=True)
class Answer:
    """What a health check got: a status, or why there was none.

    A gRPC service's is told by the status that stands for it in HTTP, with its own words in ``detail``.
    """

    status: int | None
    detail: str = ""

    @property
    def healthy(self) -> bool:
        """Return whether the instance says that it can serve."""
        return self.status is not None and self.status < 400  # noqa: PLR2004  # HTTP's line between yes and no

    @property
    def missing(self) -> bool:
        """Return whether the program answers and does not know the question."""
        return self.status is not None and 400 <= self.status < 500  # noqa: PLR2004  # HTTP's client errors

    @property
    def said(self) -> str:
        """Return the answer in words."""
        return self.detail or f"answered {self.status}"


@dataclass(frozen=True)
class Listener:
    """A TCP port that a process listens on."""

    host: str
    port: int


class Prober(Protocol):
    """Looks at instances."""

    async def ask(self, url: str, *, timeout_s: float = 2) -> Answer:
        """Ask a health path once; never raises for what the instance does."""
        ...

    async def document(self, url: str) -> tuple[bytes, str] | None:
        """Return a JSON document and its content type, None when there is none."""
        ...

    async def predict(self, base_url: str, body: bytes, *, timeout_s: float) -> Reply | str:
        """Make one prediction with a JSON body; return the answer, or why there was none."""
        ...

    async def listeners(self, pid: int) -> Sequence[Listener] | None:
        """Return what the process and its children listen on, None where that cannot be seen."""
        ...

    async def holder(self, host: str, port: int, *, token: str = "") -> str:
        """Return which program has a port of this machine, an empty string when none has.

        One that carries ``token`` in its environment, an instance's own, does not count.
        """
        ...


class HttpProber:
    """``Prober`` over HTTP, gRPC's health protocol and ``/proc``."""

    def __init__(self) -> None:
        """Nothing is sent; proxies of the environment are not used."""
        self._http = httpx.AsyncClient(trust_env=False, follow_redirects=False, limits=httpx.Limits(max_connections=32))

    async def close(self) -> None:
        """Close its connections."""
        await self._http.aclose()

    async def ask(self, url: str, *, timeout_s: float = 2) -> Answer:
        """Ask a health path once, or by ``grpc.health.v1``."""
        if url.startswith(f"{GRPC}://"):
            return _from_grpc(await ask_grpc_health(url, timeout_s=timeout_s))
        try:
            async with asyncio.timeout(timeout_s), self._http.stream("GET", url) as response:
                return Answer(response.status_code)
        except (httpx.HTTPError, TimeoutError, OSError) as error:
            return Answer(None, f"{type(error).__name__}: {error}".rstrip(": "))

    async def document(self, url: str) -> tuple[bytes, str] | None:
        """Return a JSON document; what is no JSON, or too large, counts as none."""
        try:
            async with asyncio.timeout(5), self._http.stream("GET", url) as response:
                kind = response.headers.get("content-type", "")
                if response.status_code != httpx.codes.OK or "json" not in kind:
                    return None
                content = b""
                async for chunk in response.aiter_bytes():
                    content += chunk
                    if len(content) > MAX_DOCUMENT:
                        return None
                return content, kind
        except (httpx.HTTPError, TimeoutError, OSError):
            return None

    async def predict(self, base_url: str, body: bytes, *, timeout_s: float) -> Reply | str:
        """Make one prediction; of an answer past ``MAX_ANSWER`` the beginning is kept."""
        clock = asyncio.get_running_loop()
        begun, content = clock.time(), bytearray()
        headers = {"content-type": "application/json", "accept": "application/json, */*;q=0.5"}
        try:
            async with (
                asyncio.timeout(timeout_s),
                self._http.stream(
                    "POST", f"{base_url}/predict", content=body, headers=headers, timeout=timeout_s
                ) as response,
            ):
                async for chunk in response.aiter_bytes():
                    content += chunk[: MAX_ANSWER - len(content)]
        except TimeoutError:
            return f"no answer within {timeout_s:g} s"
        except (httpx.HTTPError, OSError) as error:
            return f"{type(error).__name__}: {error}".rstrip(": ")
        took_ms = (clock.time() - begun) * 1000
        return await asyncio.to_thread(
            _reply, response.status_code, took_ms, response.headers.get("content-type", ""), bytes(content)
        )

    async def listeners(self, pid: int) -> Sequence[Listener] | None:
        """Return what the process and its children listen on, None where that cannot be seen."""
        return await asyncio.to_thread(_listeners, pid)

    async def holder(self, host: str, port: int, *, token: str = "") -> str:
        """Return which program has a port of this machine."""
        return await asyncio.to_thread(holder_of, host, port, token)


def _from_grpc(health: GrpcHealth) -> Answer:
    if not health.answered:
        return Answer(None, health.said)
    return Answer(200 if health.well else 404 if health.missing else 503, health.said)


def _reply(status: int, took_ms: float, content_type: str, content: bytes) -> Reply:
    """Read an answer; ``text`` is its end, where a stream says how it went and an error what it is."""
    try:
        is_json, document = True, json.loads(content)
    except (ValueError, RecursionError):
        is_json, document = False, None
    text = content[-SAID:].decode(errors="replace").strip()
    return Reply(status, took_ms, content_type, is_json, document, text)


def _listeners(pid: int) -> list[Listener] | None:
    found: list[Listener] = []
    try:
        if Path(f"/proc/{pid}/ns/net").readlink() != Path("/proc/self/ns/net").readlink():
            return None  # a container's: what is published for it here is nobody else's
    except FileNotFoundError:
        return found
    except PermissionError:
        return None
    for process in family(pid):
        try:
            connections: list[Any] = process.net_connections(kind="tcp")
        except psutil.AccessDenied:
            return None
        except psutil.Error:
            continue  # it ended in between
        found += [Listener(c.laddr.ip, c.laddr.port) for c in connections if c.status == psutil.CONN_LISTEN]
    return found
