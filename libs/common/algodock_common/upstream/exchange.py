"""One request whose body is all there, in memory or in a file, and its answer as it comes."""

from __future__ import annotations

import asyncio
import re
from contextlib import asynccontextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Final

from algodock_common.upstream.errors import UpstreamError

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Mapping

    from algodock_common.upstream.connection import Connection
    from algodock_common.upstream.pool import Origin, Pool

__all__ = ["exchange"]

FILE_CHUNK: Final = 256 * 1024
_FIT_FOR_A_HEAD: Final = re.compile(r"[\t\x20-\x7e\x80-\xff]*")


@asynccontextmanager
async def exchange(
    pool: Pool, origin: Origin, method: str, path: str, headers: Mapping[str, str], body: bytes | Path = b""
) -> AsyncIterator[Connection]:
    """Send a request; give the connection once the answer's head is there, to ``read`` its body from.

    Afterwards the connection is kept if the answer was read whole, else closed. There is no time limit but that for
    connecting: wrap it in one.

    Args:
        pool: where connections are taken from, and go back to.
        origin: whom to ask; its prefix stands before ``path``.
        method: such as ``POST``; not ``HEAD``.
        path: as it goes on the wire, with its query.
        headers: besides ``host`` and ``content-length``.
        body: its bytes, or the file that has them.

    Raises:
        CannotConnect: nothing was sent.
        UpstreamError: the connection ended before the answer's head came.
        OSError: the file cannot be read.
        ValueError: a header's value cannot stand in a head, such as one of two lines.
    """
    size = len(body) if isinstance(body, bytes) else (await asyncio.to_thread(body.stat)).st_size
    head = _head(origin, method, path, headers, size)
    connection = await pool.take(origin)
    try:
        connection.begin(head_only=False)
        if isinstance(body, bytes):
            connection.write(head + body)
            connection.request_done = True
        else:
            connection.write(head)
            await _send_file(connection, body, size)
        await connection.head()
        yield connection
    finally:
        pool.give_back(connection)


def _head(origin: Origin, method: str, path: str, headers: Mapping[str, str], size: int) -> bytes:
    lines = [f"{method} {origin.prefix.decode()}{path} HTTP/1.1\r\nhost: {origin.authority.decode()}"]
    for name, value in headers.items():
        if _FIT_FOR_A_HEAD.fullmatch(value) is None:
            msg = f"the value of {name} cannot stand in a head: {value[:100]!r}"
            raise ValueError(msg)
        lines.append(f"{name}: {value}")
    lines.append(f"content-length: {size}\r\n\r\n")
    return "\r\n".join(lines).encode("latin-1")


async def _send_file(connection: Connection, path: Path, size: int) -> None:
    """Send a file's ``size`` bytes, until an answer comes that does not wait for them."""
    # Who answers early may read no more: nothing else would wake ``drain`` then.
    connection.listener = connection.resume_writing
    sent = 0
    with await asyncio.to_thread(path.open, "rb") as file:
        while sent < size and not connection.answering:
            data = await asyncio.to_thread(file.read, min(FILE_CHUNK, size - sent))
            if not data:
                msg = f"it became shorter while it was sent: {sent} of {size} bytes"
                raise OSError(msg)
            sent += len(data)
            connection.write(data)
            try:
                await connection.drain()
            except UpstreamError:
                if not connection.answering:  # else it said why it wants no more
                    raise
    connection.request_done = sent == size
