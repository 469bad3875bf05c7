"""Bytes, pictures and arrays: how they come in (multipart, data URLs) and how they go out (content types).

numpy, Pillow and OpenCV are the algorithm's own; they are imported only when its types ask for them.
"""

from __future__ import annotations

import base64
import binascii
import importlib
import importlib.util
import io
import sys
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Literal, get_origin
from urllib.parse import unquote_to_bytes

__all__ = ["Encoded", "FileKind", "Upload", "data_url", "decoder", "encode_file", "file_kind", "is_picture"]

FileKind = Literal["bytes", "image", "array"]

_MAGIC = (
    (b"\x89PNG\r\n\x1a\n", "image/png"),
    (b"\xff\xd8\xff", "image/jpeg"),
    (b"GIF8", "image/gif"),
    (b"%PDF-", "application/pdf"),
    (b"\x93NUMPY", "application/x-npy"),
    (b"PK\x03\x04", "application/zip"),
    (b"\x1f\x8b", "application/gzip"),
    (b"OggS", "application/ogg"),
    (b"ID3", "audio/mpeg"),
)
_RIFF = {b"WEBP": "image/webp", b"WAVE": "audio/wav", b"AVI ": "video/x-msvideo"}
_PICTURE_CHANNELS = {3, 4}


@dataclass(frozen=True, slots=True)
class Upload:
    """Bytes that came with a request, out of a multipart part or a data URL."""

    data: bytes
    content_type: str = "application/octet-stream"
    filename: str = ""


@dataclass(frozen=True, slots=True)
class Encoded:
    """Bytes that leave as a body of their own, or as a data URL inside JSON."""

    data: bytes
    content_type: str


def file_kind(annotation: Any) -> FileKind | None:
    """Return what kind of file a type hint stands for, or None when it is no file.

    A hint of numpy's or Pillow's can only exist where the algorithm has imported them.
    """
    if annotation is bytes:
        return "bytes"
    plain = get_origin(annotation) or annotation
    if not isinstance(plain, type):
        return None
    numpy, pillow = sys.modules.get("numpy"), sys.modules.get("PIL.Image")
    if numpy is not None and issubclass(plain, numpy.ndarray):
        return "array"
    if pillow is not None and issubclass(plain, pillow.Image):
        return "image"
    return None


def decoder(kind: FileKind) -> Callable[[Any], Any]:
    """Return what makes the parameter's value of a request's: an upload, ``{"$file": …}``, or numbers for an array.

    The function raises ValueError with what is wrong, which becomes the field's message.
    """
    return {"bytes": _to_bytes, "image": _to_image, "array": _to_array}[kind]


def _upload(value: Any) -> Upload:
    if isinstance(value, Upload):
        return value
    reference = value.get("$file") if isinstance(value, dict) else None
    if not isinstance(reference, str):
        msg = 'send it as a multipart part, or as {"$file": "data:<type>;base64,<data>"}'
        raise ValueError(msg)  # noqa: TRY004  (pydantic turns only ValueError into a field's error)
    if not reference.startswith("data:"):
        msg = "only data URLs are read here; a stored object has to be resolved before the call"
        raise ValueError(msg)
    head, comma, body = reference[5:].partition(",")
    if not comma:
        msg = "not a data URL: it has no comma"
        raise ValueError(msg)
    try:
        data = base64.b64decode(body, validate=True) if head.endswith(";base64") else unquote_to_bytes(body)
    except binascii.Error as error:
        msg = f"not valid base64: {error}"
        raise ValueError(msg) from error
    return Upload(data, head.removesuffix(";base64") or "text/plain")


def _to_bytes(value: Any) -> bytes:
    return _upload(value).data


def _to_image(value: Any) -> Any:
    upload = _upload(value)
    pillow = importlib.import_module("PIL.Image")
    try:
        image = pillow.open(io.BytesIO(upload.data))
        image.load()
    except (OSError, ValueError, SyntaxError, pillow.DecompressionBombError) as error:
        msg = f"not a picture that can be read: {error}"
        raise ValueError(msg) from error
    return image


def _to_array(value: Any) -> Any:
    numpy = importlib.import_module("numpy")
    if isinstance(value, (list, int, float)):
        try:
            array = numpy.asarray(value)
        except ValueError as error:
            msg = f"not an array of numbers: {error}"
            raise ValueError(msg) from error
        if array.dtype.kind not in "biuf":
            msg = "not an array of numbers"
            raise ValueError(msg)
        return array
    upload = _upload(value)
    if upload.data.startswith(b"\x93NUMPY"):
        return numpy.load(io.BytesIO(upload.data), allow_pickle=False)
    return _picture_array(numpy, upload.data)


def _picture_array(numpy: Any, data: bytes) -> Any:
    """Return a picture as height × width × 3, red first, turned upright as its EXIF says."""
    if "cv2" not in sys.modules and importlib.util.find_spec("PIL"):
        image = importlib.import_module("PIL.ImageOps").exif_transpose(_to_image(Upload(data)))
        return numpy.asarray(image.convert("RGB"))
    cv2 = _opencv()
    array = cv2.imdecode(numpy.frombuffer(data, numpy.uint8), cv2.IMREAD_COLOR) if data else None
    if array is None:
        msg = "not a picture that can be read"
        raise ValueError(msg)
    return cv2.cvtColor(array, cv2.COLOR_BGR2RGB)


def _opencv() -> Any:
    try:
        return importlib.import_module("cv2")
    except ModuleNotFoundError as error:
        msg = "pictures need opencv-python-headless or Pillow; add one of them to requirements.txt"
        raise RuntimeError(msg) from error


def is_picture(array: Any) -> bool:
    """Tell whether an array has a picture's shape: bytes, in two dimensions or with 3 or 4 channels."""
    return str(array.dtype) == "uint8" and (
        array.ndim == 2 or (array.ndim == 3 and array.shape[2] in _PICTURE_CHANNELS)  # noqa: PLR2004  (grey; colour)
    )


def encode_file(value: Any) -> Encoded | None:
    """Return the bytes and content type of a result that is a file, None for any other."""
    if isinstance(value, (bytes, bytearray, memoryview)):
        data = bytes(value)
        return Encoded(data, _content_type(data))
    kind = file_kind(type(value))
    if kind == "image":
        return _encode_image(value)
    if kind == "array":
        return _encode_array(value)
    return None


def _content_type(data: bytes) -> str:
    for magic, content_type in _MAGIC:
        if data.startswith(magic):
            return content_type
    if data[:4] == b"RIFF":
        return _RIFF.get(data[8:12], "application/octet-stream")
    return "video/mp4" if data[4:8] == b"ftyp" else "application/octet-stream"


def _encode_image(image: Any) -> Encoded:
    wanted = image.format if image.format in {"JPEG", "GIF", "WEBP"} else "PNG"
    buffer = io.BytesIO()
    image.save(buffer, format=wanted)
    return Encoded(buffer.getvalue(), f"image/{wanted.lower()}")


def _encode_array(array: Any) -> Encoded:
    numpy = importlib.import_module("numpy")
    if not is_picture(array):
        buffer = io.BytesIO()
        numpy.save(buffer, array, allow_pickle=False)
        return Encoded(buffer.getvalue(), "application/x-npy")
    if "cv2" not in sys.modules and importlib.util.find_spec("PIL"):
        return _encode_image(importlib.import_module("PIL.Image").fromarray(array))
    cv2 = _opencv()
    order = {2: None, 3: cv2.COLOR_RGB2BGR, 4: cv2.COLOR_RGBA2BGRA}[2 if array.ndim == 2 else array.shape[2]]  # noqa: PLR2004
    _, png = cv2.imencode(".png", array if order is None else cv2.cvtColor(array, order))
    return Encoded(png.tobytes(), "image/png")


def data_url(encoded: Encoded) -> str:
    """Return the bytes as a data URL."""
    return f"data:{encoded.content_type};base64,{base64.b64encode(encoded.data).decode()}"
