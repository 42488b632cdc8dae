"""Files that are pictures, pretend to be some, or would be too large."""

from __future__ import annotations

import io
import struct
import zlib

from PIL import Image


def picture(kind: str = "PNG", size: tuple[int, int] = (40, 30)) -> bytes:
    """A whole picture."""
    stream = io.BytesIO()
    Image.effect_noise(size, 80).convert("RGB").save(stream, kind)
    return stream.getvalue()


def huge_png(width: int = 50_000, height: int = 50_000) -> bytes:
    """A PNG whose header promises very many pixels in a few bytes."""

    def chunk(name: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + name + data + struct.pack(">I", zlib.crc32(name + data))

    header = chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, 8, 0, 0, 0, 0))
    return b"\x89PNG\r\n\x1a\n" + header + chunk(b"IDAT", zlib.compress(bytes(1000))) + chunk(b"IEND", b"")


def huge_gif(width: int = 65_535, height: int = 65_535) -> bytes:
    """A GIF whose screen and frame are as large as it can say."""
    frame = b"\x2c" + struct.pack("<HHHH", 0, 0, width, height) + b"\x00\x02\x02\x44\x01\x00"
    return b"GIF89a" + struct.pack("<HH", width, height) + b"\x80\x00\x00" + bytes(6) + frame + b"\x3b"


def many_scans(scans: int = 100) -> bytes:
    """A JPEG that goes over its picture again and again."""
    whole = picture("JPEG", (8, 8))
    scan = whole[whole.index(b"\xff\xda") : -2]
    return whole[:-2] + scan * scans + b"\xff\xd9"


def postscript() -> bytes:
    """A picture that is a program."""
    return b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 10 10\n%%EndComments\n(/etc/passwd) run\nshowpage\n%%EOF\n"
