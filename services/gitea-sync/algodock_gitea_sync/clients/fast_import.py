"""Makes one commit of uploaded files with one ``git fast-import``: no working tree, no index."""

from __future__ import annotations

import asyncio
import time
from typing import TYPE_CHECKING

from algodock_gitea_sync.clients.git import GitFailed, end_group

if TYPE_CHECKING:
    from asyncio import StreamWriter
    from collections.abc import AsyncIterator
    from pathlib import Path

    from algodock_gitea_sync.clients.forge import Upload
    from algodock_gitea_sync.clients.git import Git

__all__ = ["fast_import"]

_CHUNK = 1 << 20
_TIMEOUT_S = 300.0


async def fast_import(git: Git, folder: Path, ref: str, parent: str | None, upload: Upload) -> None:
    """Put ``upload`` on top of ``parent`` (None: the branch is new) as the new head of ``ref``.

    Raises:
        GitFailed: git refused it, e.g. because ``ref`` is not at ``parent`` any more.
    """
    process = await git.start(
        *(git.program, f"--git-dir={folder}", "fast-import", "--quiet", "--date-format=raw", "--done"),
        env=git.environment(),
    )
    if process.stdin is None or process.stdout is None or process.stderr is None:  # pragma: no cover  # all piped
        raise GitFailed("fast-import", None, "no pipes")
    try:
        async with asyncio.timeout(_TIMEOUT_S), asyncio.TaskGroup() as tasks:
            stderr = tasks.create_task(process.stderr.read())
            tasks.create_task(process.stdout.read())
            tasks.create_task(_feed(process.stdin, ref, parent, upload))
            code = await process.wait()
    except TimeoutError:
        raise GitFailed("fast-import", None, "") from None
    finally:
        await end_group(process)
    if code != 0:
        raise GitFailed("fast-import", code, stderr.result().decode(errors="replace"))


async def _feed(stdin: StreamWriter, ref: str, parent: str | None, upload: Upload) -> None:
    try:
        async for piece in _stream(ref, parent, upload):
            if stdin.is_closing():
                return
            stdin.write(piece)
            await stdin.drain()
    except (BrokenPipeError, ConnectionResetError):
        return  # git ended early; its exit status and its words say why
    finally:
        stdin.close()


async def _stream(ref: str, parent: str | None, upload: Upload) -> AsyncIterator[bytes]:
    """Yield the commit in the language of git-fast-import(1)."""
    message = upload.message.encode()
    name = "".join(c for c in upload.author if c.isprintable() and c not in "<>") or "algodock"
    yield f"commit {ref}\n".encode()
    yield f"committer {name} <{name.replace(' ', '.')}@algodock.local> {int(time.time())} +0000\n".encode()
    yield f"data {len(message)}\n".encode() + message + b"\n"
    if parent is not None:
        yield f"from {parent}\n".encode()
    if upload.replace:
        yield b"deleteall\n"
    for file in upload.files:
        quoted = file.path.replace("\\", "\\\\").replace('"', '\\"')
        yield f'M 100644 inline "{quoted}"\ndata {file.size}\n'.encode()
        while chunk := await asyncio.to_thread(file.content.read, _CHUNK):
            yield chunk
        yield b"\n"
    yield b"done\n"
