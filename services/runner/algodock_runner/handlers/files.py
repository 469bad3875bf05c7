"""Tasks that come with files: streamed into one object, which is the body of the call; never held in memory."""

from __future__ import annotations

import contextlib
import hashlib
from functools import partial
from secrets import token_hex
from typing import TYPE_CHECKING

from algodock_common.errors import AlgoDockError, PayloadTooLarge
from algodock_common.events import TaskRequest
from algodock_common.identifiers import uuid7
from algodock_common.observability import current_traceparent
from algodock_runner.domain.errors import InvalidTask
from algodock_runner.domain.files import TASK_PART, Part, closing, fields, head_of
from algodock_runner.domain.requests import StoredBody, input_key, merged_input, task_of_body

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from algodock_common.storage import ObjectStore
    from algodock_runner.handlers.submit import Made, Submission

__all__ = ["FileSubmission"]

HELD_BYTES = 16 * 1024
"""A call's body up to here goes into the task's row."""


class FileSubmission:
    """Accepts tasks with files."""

    def __init__(self, submission: Submission, store: ObjectStore) -> None:
        """Keep what it works with."""
        self._submission = submission
        self._store = store

    async def submit(self, request: TaskRequest, first: Part, rest: AsyncIterator[Part | bytes], *, owner: str) -> Made:
        """Accept ``request`` with the parts that follow: ``first``, its content, and so on from ``rest``.

        Raises:
            AlgoDockError: as ``Submission.submit``; what can be told before the files are read is told then.
            InvalidTask: a part has the name of a member of the input.
        """
        await self._submission.check(request)
        task_id, boundary = uuid7(), token_hex(16)
        form = _Form(boundary, request)
        content_type = f"multipart/form-data; boundary={boundary}"
        try:
            await self._store.put_stream(input_key(task_id), form.of(first, rest), content_type)
            stored = StoredBody(task_id, content_type, form.digest())
            made = await self._submission.submit(request, owner=owner, stored=stored)
        except AlgoDockError:  # any other may come after the commit, and then a row names them
            await self._discard(input_key(task_id))
            raise
        if not made.new:
            await self._discard(input_key(task_id))
        return made

    async def submit_body(
        self, algorithm: str, content_type: str, chunks: AsyncIterator[bytes], *, most: int, owner: str
    ) -> Made:
        """Make a task of a call to ``algorithm``: of its body as it comes, up to ``most`` bytes.

        A short one goes into the row, a longer one is streamed into an object.

        Raises:
            PayloadTooLarge: it is longer.
            AlgoDockError: as ``Submission.submit``.
        """
        await self._submission.check(TaskRequest(algorithm=algorithm))
        body = _Body(chunks, most)
        beginning = await body.beginning(HELD_BYTES)
        made = partial(task_of_body, algorithm, owner=owner, traceparent=current_traceparent())
        if body.whole:
            return await self._submission.accept(made(beginning, content_type))
        task_id = uuid7()
        try:
            await self._store.put_stream(input_key(task_id), body.rest(beginning), content_type)
            stored = StoredBody(task_id, content_type, body.hash.digest())
            return await self._submission.accept(made(b"", content_type, stored=stored))
        except AlgoDockError:  # any other may come after the commit, and then a row names it
            await self._discard(input_key(task_id))
            raise

    async def _discard(self, key: str) -> None:
        """Remove files that no row names; what stays behind is the sweeper's."""
        with contextlib.suppress(AlgoDockError):
            await self._store.remove(key)


class _Body:
    """A call's body as it comes."""

    def __init__(self, chunks: AsyncIterator[bytes], most: int) -> None:
        self.whole = False
        self.hash = hashlib.sha256()
        self._chunks = chunks
        self._most = most
        self._size = 0

    async def beginning(self, size: int) -> bytes:
        """Return the body if it has at most ``size`` bytes, else a little more than that."""
        read = bytearray()
        async for chunk in self._chunks:
            read += self._counted(chunk)
            if len(read) > size:
                return bytes(read)
        self.whole = True
        return bytes(read)

    async def rest(self, beginning: bytes) -> AsyncIterator[bytes]:
        """Give it from its beginning on."""
        yield beginning
        async for chunk in self._chunks:
            yield self._counted(chunk)

    def _counted(self, chunk: bytes) -> bytes:
        self._size += len(chunk)
        self.hash.update(chunk)
        if self._size > self._most:
            msg = f"The body is larger than {self._most} bytes."
            raise PayloadTooLarge(msg)
        return chunk


class _Form:
    """A form made of a task's input and of the parts that came with it."""

    def __init__(self, boundary: str, request: TaskRequest) -> None:
        self._boundary = boundary
        said = merged_input(request)
        self._fields = b"".join(fields(boundary, said))
        self._names = frozenset(said) if isinstance(said, dict) else frozenset()
        self._heads = hashlib.sha256()
        self._content = hashlib.sha256()

    async def of(self, first: Part, rest: AsyncIterator[Part | bytes]) -> AsyncIterator[bytes]:
        """Give its bytes."""
        yield self._fields
        yield self._begin(first)
        async for piece in rest:
            if isinstance(piece, Part):
                yield b"\r\n" + self._begin(piece)
            else:
                self._content.update(piece)
                yield piece
        yield b"\r\n" + closing(self._boundary)

    def digest(self) -> bytes:
        """Return a hash of the names, types and contents of all parts."""
        self._end_part()
        return self._heads.digest()

    def _begin(self, part: Part) -> bytes:
        if part.name in self._names:
            msg = f"The input has a member {part.name!r}, and a part has the same name."
            raise InvalidTask(msg)
        if part.name == TASK_PART:
            msg = f"There is more than one part {TASK_PART!r}."
            raise InvalidTask(msg)
        self._end_part()
        self._heads.update(repr((part.name, part.filename, part.content_type)).encode())
        return head_of(self._boundary, part)

    def _end_part(self) -> None:
        self._heads.update(self._content.digest())
        self._content = hashlib.sha256()
