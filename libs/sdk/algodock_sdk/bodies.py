"""Request bodies in: a JSON object, or multipart parts by the parameters' names."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

from algodock_sdk.files import Upload
from algodock_sdk.problems import InvalidInput, Problem

if TYPE_CHECKING:
    from starlette.datastructures import FormData
    from starlette.requests import Request

    from algodock_sdk.signature import Signature

__all__ = ["read_input"]

_MAX_PARTS = 1000
# The last is what curl calls every body whose type it is not told.
_JSON_TYPES = {"", "application/json", "text/plain", "application/x-www-form-urlencoded"}


async def read_input(request: Request, signature: Signature) -> dict[str, Any]:
    """Return the raw values by name.

    Raises:
        InvalidInput: the body is not JSON, not an object, or not well-formed multipart.
        Problem: 415, another content type.
    """
    content_type = request.headers.get("content-type", "").partition(";")[0].strip().lower()
    if content_type == "multipart/form-data":
        return await _form(request, signature)
    if content_type in _JSON_TYPES or content_type.endswith("+json"):
        return _json(await request.body())
    raise Problem(
        415,
        "Unsupported media type",
        f"send application/json or multipart/form-data, not {content_type}",
        code="unsupported-media-type",
    )


def _json(body: bytes) -> dict[str, Any]:
    if not body.strip():
        return {}
    try:
        values = json.loads(body)
    except (ValueError, RecursionError) as error:
        raise InvalidInput([{"path": "", "message": f"not JSON: {error}", "type": "json_invalid"}]) from error
    if not isinstance(values, dict):
        found = type(values).__name__
        message = f"must be a JSON object with the parameters by name, not a {found}"
        raise InvalidInput([{"path": "", "message": message, "type": "dict_type"}])
    return values


async def _form(request: Request, signature: Signature) -> dict[str, Any]:
    from python_multipart.exceptions import FormParserError
    from starlette.exceptions import HTTPException

    try:
        form = await request.form(max_files=_MAX_PARTS, max_fields=_MAX_PARTS)
    except (HTTPException, FormParserError) as error:  # the second one from Starlette before 0.42
        raise InvalidInput([{"path": "", "message": f"not multipart: {error}", "type": "multipart"}]) from error
    try:
        return await _values(form, signature)
    finally:
        await form.close()


async def _values(form: FormData, signature: Signature) -> dict[str, Any]:
    """Return each field's value; a field that comes several times is a list."""
    values: dict[str, Any] = {}
    for name in dict.fromkeys(form.keys()):
        parts: list[Any] = []
        for part in form.getlist(name):
            if isinstance(part, str):
                parts.append(_text(name, part, signature))
                continue
            content_type = part.content_type or "application/octet-stream"
            data = await part.read()
            parts.append(
                Upload(data, content_type, part.filename or "")
                if name in signature.file_fields
                else _text(name, _decoded(name, data), signature)
            )
        alone = len(parts) == 1 and (isinstance(parts[0], list) or not signature.is_list(name))
        values[name] = parts[0] if alone else parts
    return values


def _decoded(name: str, data: bytes) -> str:
    try:
        return data.decode()
    except UnicodeDecodeError as error:
        message = "this parameter takes no file, and the part is not text in UTF-8"
        raise InvalidInput([{"path": name, "message": message, "type": "string_unicode"}]) from error


def _text(name: str, text: str, signature: Signature) -> Any:
    """Return a text part as the value it stands for: JSON, unless the parameter takes text as it is."""
    if name in signature.text_fields and not signature.is_list(name):
        return text
    try:
        value = json.loads(text)
    except ValueError:
        return text
    return value if isinstance(value, list) or name not in signature.text_fields else text
