"""Reads a repository's objects through one ``git cat-file --batch``: commit, trees and files, no working tree."""

from __future__ import annotations

import subprocess
from dataclasses import dataclass
from typing import IO, TYPE_CHECKING, Self

from algodock_gitea_sync.clients.git import GitFailed
from algodock_gitea_sync.domain.errors import UnsafeTree

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
    from pathlib import Path
    from types import TracebackType

__all__ = ["Commit", "ObjectReader", "TreeEntry"]

_MAX_COMMIT_BYTES = 1 << 20
_MAX_TREE_BYTES = 32 << 20


@dataclass(frozen=True, slots=True)
class Commit:
    """What a commit says; ``message`` is its subject line, ``time`` the committer's, in Unix seconds."""

    id: str
    tree: str
    parent: str | None
    author: str
    message: str
    time: int


@dataclass(frozen=True, slots=True)
class TreeEntry:
    """One entry of a tree, unchecked."""

    mode: int
    name: bytes
    id: str


class ObjectReader:
    """One ``cat-file`` process; blocking, so it belongs in a thread."""

    def __init__(self, program: str, git_dir: Path, env: Mapping[str, str]) -> None:
        """Objects are read from the bare repository ``git_dir``."""
        self._command = [program, f"--git-dir={git_dir}", "cat-file", "--batch"]
        self._env = dict(env)

    def __enter__(self) -> Self:
        """Start the process."""
        self._process = subprocess.Popen(  # git, found at the start, with arguments of ours
            self._command,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            env=self._env,
        )
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """End the process, also in the middle of an object."""
        self._process.kill()
        for stream in (self._process.stdin, self._process.stdout):
            if stream is not None:
                stream.close()
        self._process.wait()

    def commit(self, commit_id: str) -> Commit:
        """Read a commit.

        Raises:
            GitFailed: there is no such commit in the repository.
        """
        raw = self._whole(commit_id, "commit", _MAX_COMMIT_BYTES)
        head, _, body = raw.partition(b"\n\n")
        fields: dict[bytes, bytes] = {}
        for line in head.split(b"\n"):
            key, _, value = line.partition(b" ")
            fields.setdefault(key, value)
        author, _, _ = fields.get(b"author", b"").partition(b" <")
        subject = body.strip().split(b"\n", 1)[0]
        return Commit(
            id=commit_id,
            tree=fields[b"tree"].decode(),
            parent=fields[b"parent"].decode() if b"parent" in fields else None,
            author=_readable(author, 255),
            message=_readable(subject, 500),
            time=_seconds(fields.get(b"committer", b"")),
        )

    def tree(self, tree_id: str) -> Iterator[TreeEntry]:
        """Yield the entries of a tree in git's own order.

        Raises:
            GitFailed: there is no such tree. UnsafeTree: it is malformed or has more entries than any real one.
        """
        raw = self._whole(tree_id, "tree", _MAX_TREE_BYTES)
        width = len(tree_id) // 2
        at = 0
        while at < len(raw):
            space = raw.find(b" ", at)
            end = raw.find(b"\0", space)
            if space < 0 or end < 0 or end + 1 + width > len(raw):
                msg = f"tree {tree_id} is malformed"
                raise UnsafeTree(msg)
            yield TreeEntry(int(raw[at:space], 8), raw[space + 1 : end], raw[end + 1 : end + 1 + width].hex())
            at = end + 1 + width

    def blob(self, blob_id: str) -> tuple[int, IO[bytes]]:
        """Return size and content of a file; the content must be read to its end before anything else is asked.

        Raises:
            GitFailed: there is no such file.
        """
        size = self._ask(blob_id, "blob")
        return size, _Content(self._stdout, size)  # type: ignore[return-value]  # all that tarfile wants is read()

    @property
    def _stdout(self) -> IO[bytes]:
        if self._process.stdout is None:  # pragma: no cover  # piped in __enter__
            raise GitFailed("cat-file", None, "no output")
        return self._process.stdout

    def _ask(self, object_id: str, kind: str) -> int:
        if self._process.stdin is None:  # pragma: no cover  # piped in __enter__
            raise GitFailed("cat-file", None, "no input")
        try:
            self._process.stdin.write(object_id.encode() + b"\n")
            self._process.stdin.flush()
            answer = self._stdout.readline().split()
        except OSError as error:
            raise GitFailed("cat-file", self._process.poll(), str(error)) from error
        if len(answer) != 3 or answer[1].decode() != kind:  # noqa: PLR2004  # "<id> <type> <size>"
            raise GitFailed("cat-file", self._process.poll(), f"no {kind} {object_id} in the repository")
        return int(answer[2])

    def _whole(self, object_id: str, kind: str, limit: int) -> bytes:
        size = self._ask(object_id, kind)
        if size > limit:
            msg = f"{kind} {object_id} has {size} bytes; at most {limit} are taken"
            raise UnsafeTree(msg)
        return _Content(self._stdout, size).read()


class _Content:
    """One object's content in the output of ``cat-file``, which ends it with a line feed."""

    def __init__(self, stream: IO[bytes], size: int) -> None:
        self._stream = stream
        self._left = size
        if size == 0:
            stream.read(1)

    def read(self, size: int = -1) -> bytes:
        wanted = self._left if size < 0 else min(size, self._left)
        if wanted == 0:
            return b""
        data = self._stream.read(wanted)
        if len(data) < wanted:
            raise GitFailed("cat-file", None, "its output ended in the middle of an object")
        self._left -= wanted
        if self._left == 0:
            self._stream.read(1)
        return data


def _readable(raw: bytes, limit: int) -> str:
    text = raw.decode("utf-8", "replace")
    return "".join(character if character.isprintable() else " " for character in text)[:limit].strip()


def _seconds(committer: bytes) -> int:
    words = committer.rsplit(b" ", 2)
    try:
        return max(0, min(int(words[-2]), 0xFFFFFFFF))
    except (ValueError, IndexError):
        return 0
