"""Bytes, pictures and arrays, in and out."""

from __future__ import annotations

import base64
import io

import numpy as np
import pytest
from PIL import Image

from algodock_sdk.files import Upload, decoder, encode_file


def png(mode: str = "RGB", size: tuple[int, int] = (3, 2)) -> bytes:
    buffer = io.BytesIO()
    Image.new(mode, size, "red" if mode == "RGB" else 0).save(buffer, "PNG")
    return buffer.getvalue()


def test_a_data_url_is_read_with_and_without_base64() -> None:
    to_bytes = decoder("bytes")
    assert to_bytes({"$file": "data:text/plain;base64," + base64.b64encode(b"\x00\xff").decode()}) == b"\x00\xff"
    assert to_bytes({"$file": "data:text/plain,a%20b"}) == b"a b"


@pytest.mark.parametrize(
    ("value", "why"),
    [
        ({"$file": "data:;base64,???"}, "base64"),
        ({"$file": "data:no-comma"}, "comma"),
        ({"$file": "inputs/1/a.png"}, "only data URLs"),
        ({"$file": "http://169.254.169.254/"}, "only data URLs"),
        ({"$file": 3}, "multipart part"),
        ("plain text", "multipart part"),
        (None, "multipart part"),
    ],
)
def test_what_is_no_file_says_what_to_send(value: object, why: str) -> None:
    with pytest.raises(ValueError, match=why):
        decoder("bytes")(value)


def test_a_picture_becomes_an_image_or_an_array_of_its_colours() -> None:
    assert decoder("image")(Upload(png())).size == (3, 2)
    array = decoder("array")(Upload(png()))
    assert array.shape == (2, 3, 3)
    assert array[0, 0].tolist() == [255, 0, 0]


def test_an_npy_file_becomes_its_array_and_never_runs_a_pickle() -> None:
    buffer = io.BytesIO()
    np.save(buffer, np.arange(3))
    assert decoder("array")(Upload(buffer.getvalue())).tolist() == [0, 1, 2]
    evil = io.BytesIO()
    np.save(evil, np.array([{}], dtype=object), allow_pickle=True)
    with pytest.raises(ValueError, match="allow_pickle"):
        decoder("array")(Upload(evil.getvalue()))


@pytest.mark.parametrize("kind", ["image", "array"])
@pytest.mark.parametrize("data", [b"", b"not a picture", png()[:40]])
def test_what_is_no_picture_is_refused(kind: str, data: bytes) -> None:
    with pytest.raises(ValueError, match="not a picture"):
        decoder(kind)(Upload(data))  # type: ignore[arg-type]  # a kind by its parameter


@pytest.mark.parametrize(
    ("value", "content_type"),
    [
        (b"hello", "application/octet-stream"),
        (bytearray(png()), "image/png"),
        (b"\xff\xd8\xff\xe0", "image/jpeg"),
        (b"RIFF\0\0\0\0WAVE", "audio/wav"),
        (b"\0\0\0\x18ftypmp42", "video/mp4"),
        (Image.new("RGBA", (2, 2)), "image/png"),
        (np.zeros((4, 4, 3), np.uint8), "image/png"),
        (np.zeros((4, 4), np.uint8), "image/png"),
        (np.zeros((4, 4), np.float32), "application/x-npy"),
    ],
)
def test_a_result_that_is_a_file_has_its_content_type(value: object, content_type: str) -> None:
    encoded = encode_file(value)
    assert encoded is not None
    assert encoded.content_type == content_type


def test_a_jpeg_stays_one() -> None:
    buffer = io.BytesIO()
    Image.new("RGB", (2, 2)).save(buffer, "JPEG")
    encoded = encode_file(Image.open(io.BytesIO(buffer.getvalue())))
    assert encoded is not None
    assert encoded.content_type == "image/jpeg"


def test_a_picture_keeps_its_colours_on_the_way_through() -> None:
    array = np.zeros((2, 2, 3), np.uint8)
    array[..., 2] = 200
    encoded = encode_file(array)
    assert encoded is not None
    assert decoder("array")(Upload(encoded.data)).tolist() == array.tolist()


@pytest.mark.parametrize("value", [{}, [], "text", 1, None, np.float32(1)])
def test_everything_else_is_no_file(value: object) -> None:
    assert encode_file(value) is None
