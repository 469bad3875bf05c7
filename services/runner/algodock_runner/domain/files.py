"""Files that come with a task: what their parts may be called, and the body that the algorithm will get."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import TYPE_CHECKING

from algodock_runner.domain.errors import InvalidTask

if TYPE_CHECKING:
    from collections.abc import Iterator

__all__ = ["TASK_PART", "Part", "checked_part", "closing", "fields", "head_of"]

TASK_PART = "task"
"""The part that says what the task is; it comes first, so that all else can be streamed."""

NAME_CHARACTERS = 255
_DEFAULT_NAME = "file"
_ESCAPED = str.maketrans({'"': "%22", "\\": "%5C"})


@dataclass(frozen=True, slots=True)
class Part:
    """The head of one part of a form; one without a file name is a field."""

    name: str
    filename: str | None
    content_type: str | None


def checked_part(name: str, filename: str | None, content_type: str | None) -> Part:
    """Return the part's head as it may be written into another body.

    Of a file's name the last step of its path is kept: it names a file, never a place.

    Raises:
        InvalidTask: a name is missing, too long or has control characters.
    """
    _check("a part's name", name)
    if filename is not None:
        _check("a file's name", filename or _DEFAULT_NAME)
        filename = filename.replace("\\", "/").rpartition("/")[2]
        filename = _DEFAULT_NAME if filename in {"", ".", ".."} else filename
    if content_type is not None and not content_type.isascii():
        msg = "a part's content type must be ASCII"
        raise InvalidTask(msg)
    if content_type is not None:
        _check("a part's content type", content_type)
    return Part(name, filename, content_type)


def fields(boundary: str, input_: object) -> Iterator[bytes]:
    """Give the members of a task's input as fields of a form: texts as they are, the rest as JSON.

    Raises:
        InvalidTask: the input is no object.
    """
    if input_ is None:
        return
    if not isinstance(input_, dict):
        msg = "input: must be an object where files come with the task: its members and the files are one form"
        raise InvalidTask(msg)
    for name, value in input_.items():
        yield head_of(boundary, checked_part(name, None, None))
        text = value if isinstance(value, str) else json.dumps(value, ensure_ascii=False, allow_nan=False)
        yield text.encode(errors="replace")
        yield b"\r\n"


def head_of(boundary: str, part: Part) -> bytes:
    """Return the head of a part; its content and a line's end follow."""
    lines = [f"--{boundary}", f'content-disposition: form-data; name="{part.name.translate(_ESCAPED)}"']
    if part.filename is not None:
        lines[1] += f'; filename="{part.filename.translate(_ESCAPED)}"'
    if part.content_type is not None:
        lines.append(f"content-type: {part.content_type}")
    return "\r\n".join([*lines, "", ""]).encode()


def closing(boundary: str) -> bytes:
    """Return the end of the form."""
    return f"--{boundary}--\r\n".encode()


def _check(what: str, text: str) -> None:
    if not text or len(text) > NAME_CHARACTERS or not text.isprintable():
        msg = f"{what} must have 1 to {NAME_CHARACTERS} printable characters"
        raise InvalidTask(msg)
