"""A multipart body as it arrives: the head of each part, then its content in pieces; nothing is kept."""

from __future__ import annotations

from typing import TYPE_CHECKING

from python_multipart.exceptions import FormParserError
from python_multipart.multipart import MultipartParser, parse_options_header
from starlette.requests import ClientDisconnect

from algodock_common.errors import BadRequest, PayloadTooLarge
from algodock_runner.domain.errors import InvalidTask
from algodock_runner.domain.files import Part, checked_part

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, AsyncIterator

__all__ = ["MULTIPART", "parts_of"]

MULTIPART = b"multipart/form-data"
BOUNDARY_BYTES = 70
"""RFC 2046, section 5.1.1."""
MOST_PARTS = 1000


async def parts_of(
    content_type: str, chunks: AsyncIterator[bytes], *, limit: int
) -> AsyncGenerator[Part | bytes, None]:
    """Give a part's head, then its content, then the next one's head, while the body arrives.

    Raises:
        BadRequest: the body is not multipart, or ends in the middle.
        InvalidTask: a part has no name, or one that cannot be passed on.
        PayloadTooLarge: it is longer than ``limit`` bytes.
    """
    reader = _Reader(content_type)
    size = 0
    try:
        async for chunk in chunks:
            size += len(chunk)
            if size > limit:
                msg = f"The files are larger than {limit} bytes together."
                raise PayloadTooLarge(msg)
            for found in reader.feed(chunk):
                yield found
    except ClientDisconnect as error:
        msg = "The caller left before the body was whole."
        raise BadRequest(msg) from error
    if not reader.ended:
        msg = "The multipart body ends in the middle of a part."
        raise BadRequest(msg)


class _Reader:
    """Turns the parser's calls into a list of what a piece of the body held."""

    def __init__(self, content_type: str) -> None:
        type_, options = parse_options_header(content_type)
        boundary = options.get(b"boundary", b"")
        if type_ != MULTIPART or not 1 <= len(boundary) <= BOUNDARY_BYTES:
            msg = f"A multipart body is multipart/form-data with a boundary of 1 to {BOUNDARY_BYTES} characters."
            raise BadRequest(msg)
        self.ended = False
        self._found: list[Part | bytes] = []
        self._parts = 0
        self._headers: dict[bytes, bytes] = {}
        self._field = b""
        self._value = b""
        self._parser = MultipartParser(
            boundary,
            {
                "on_part_begin": self._begin,
                "on_header_field": self._add_field,
                "on_header_value": self._add_value,
                "on_header_end": self._end_header,
                "on_headers_finished": self._end_headers,
                "on_part_data": self._add_data,
                "on_end": self._end,
            },
        )

    def feed(self, chunk: bytes) -> list[Part | bytes]:
        """Return what ``chunk`` completes."""
        try:
            self._parser.write(chunk)
        except FormParserError as error:
            msg = f"The body is not well-formed multipart: {error}"
            raise BadRequest(msg) from error
        found, self._found = self._found, []
        return found

    def _begin(self) -> None:
        self._parts += 1
        if self._parts > MOST_PARTS:
            msg = f"A task has at most {MOST_PARTS} parts."
            raise InvalidTask(msg)
        self._headers = {}

    def _add_field(self, data: bytes, start: int, end: int) -> None:
        self._field += data[start:end]

    def _add_value(self, data: bytes, start: int, end: int) -> None:
        self._value += data[start:end]

    def _end_header(self) -> None:
        self._headers[self._field.lower()] = self._value
        self._field = self._value = b""

    def _end_headers(self) -> None:
        disposition, options = parse_options_header(self._headers.get(b"content-disposition"))
        if disposition != b"form-data":
            msg = "Each part must say 'content-disposition: form-data' with its name."
            raise InvalidTask(msg)
        name, filename = (_text(options.get(key)) for key in (b"name", b"filename"))
        self._found.append(checked_part(name or "", filename, _text(self._headers.get(b"content-type"))))

    def _add_data(self, data: bytes, start: int, end: int) -> None:
        self._found.append(data[start:end])

    def _end(self) -> None:
        self.ended = True


def _text(value: bytes | None) -> str | None:
    try:
        return None if value is None else value.decode().strip()
    except UnicodeDecodeError as error:
        msg = "A part's names must be UTF-8."
        raise InvalidTask(msg) from error
