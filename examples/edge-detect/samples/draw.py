"""Draws shapes.png, the sample picture (standard library only):  python samples/draw.py"""

# ruff: noqa: PLR2004  (a drawing is made of numbers)

import struct
import zlib
from pathlib import Path

WIDTH, HEIGHT = 160, 120
SKY, SUN, HOUSE, ROOF, DOOR = (186, 214, 240), (250, 208, 70), (226, 222, 210), (170, 66, 54), (92, 64, 48)


def colour(x: int, y: int) -> tuple[int, int, int]:
    """Return the colour of one pixel: a house under a sun."""
    if (x - 130) ** 2 + (y - 24) ** 2 < 14**2:
        return SUN
    if 66 <= x < 82 and 76 <= y < 104:
        return DOOR
    if 40 <= x < 108 and 56 <= y < 104:
        return HOUSE
    if 24 <= y < 56 and abs(x - 74) < (y - 24) * 1.35:
        return ROOF
    return SKY


def chunk(kind: bytes, data: bytes) -> bytes:
    """Return one chunk of a PNG."""
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))


def main() -> None:
    """Write the picture beside this file."""
    rows = b"".join(b"\0" + bytes(v for x in range(WIDTH) for v in colour(x, y)) for y in range(HEIGHT))
    header = struct.pack(">IIBBBBB", WIDTH, HEIGHT, 8, 2, 0, 0, 0)
    png = b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(rows, 9)) + chunk(b"IEND", b"")
    Path(__file__).with_name("shapes.png").write_bytes(png)


if __name__ == "__main__":
    main()
