"""Write images of 16 bits, of every layout that is read."""

import struct
import zlib

import numpy as np
from numpy.typing import NDArray

Values = NDArray[np.uint16]  # (H, W, channels)


def png(values: Values, interlaced: bool = False) -> bytes:
    """A PNG of 16 bits: (H, W, channels), 1 grey, 2 with alpha, 3 RGB, 4 RGBA."""

    def chunk(kind: bytes, content: bytes) -> bytes:
        checksum = struct.pack(">I", zlib.crc32(kind + content))
        return struct.pack(">I", len(content)) + kind + content + checksum

    def rows(part: Values) -> bytes:
        return b"".join(b"\0" + row.astype(">u2").tobytes() for row in part)

    kind = {1: 0, 2: 4, 3: 2, 4: 6}[values.shape[-1]]
    height, width = values.shape[:2]
    header = struct.pack(">IIBBBBB", width, height, 16, kind, 0, 0, interlaced)
    passes = [(0, 8, 0, 8), (0, 8, 4, 8), (4, 8, 0, 4), (0, 4, 2, 4), (2, 4, 0, 2), (0, 2, 1, 2)]
    passes.append((1, 2, 0, 1))
    parts = [values[y::dy, x::dx] for y, dy, x, dx in passes] if interlaced else [values]
    pixels = zlib.compress(b"".join(map(rows, parts)))
    chunks = chunk(b"IHDR", header) + chunk(b"IDAT", pixels) + chunk(b"IEND", b"")
    return b"\x89PNG\r\n\x1a\n" + chunks


def tiff(
    values: Values, order: str = "<", packed: bool = False, white_is_zero: bool = False,
    bits: int = 16,
) -> bytes:  # fmt: skip
    """A TIFF of 16 bits: (H, W, channels), 1 grey, 3 RGB; in either order of bytes."""
    channels = values.shape[-1]
    pixels = values.astype(f"{order}u2").tobytes()
    pixels = zlib.compress(pixels) if packed else pixels
    photometric = 2 if channels == 3 else 0 if white_is_zero else 1
    after = 8 + 2 + 12 * 9 + 4
    long = {273: after + 2 * channels, 279: len(pixels)}
    short = {256: values.shape[1], 257: values.shape[0], 259: 8 if packed else 1, 262: photometric}
    short |= {277: channels, 278: values.shape[0]}
    entries = {tag: struct.pack(f"{order}HHIHH", tag, 3, 1, v, 0) for tag, v in short.items()}
    entries |= {tag: struct.pack(f"{order}HHII", tag, 4, 1, v) for tag, v in long.items()}
    if channels == 1:
        entries[258] = struct.pack(f"{order}HHIHH", 258, 3, 1, bits, 0)
    else:
        entries[258] = struct.pack(f"{order}HHII", 258, 3, channels, after)
    start = b"II*\0" if order == "<" else b"MM\0*"
    table = b"".join(entries[tag] for tag in sorted(entries)) + bytes(4)
    depths = struct.pack(f"{order}{channels}H", *[bits] * channels)
    return start + struct.pack(f"{order}IH", 8, len(entries)) + table + depths + pixels


def deep_values(channels: int) -> Values:
    return np.random.default_rng(0).integers(0, 65536, (32, 32, channels), dtype=np.uint16)


KINDS_OF_16_BITS = {
    "PNG": png,
    "interlaced PNG": lambda values: png(values, interlaced=True),
    "TIFF": tiff,
    "big-endian TIFF": lambda values: tiff(values, ">"),
    "packed TIFF": lambda values: tiff(values, packed=True),
    "packed big-endian TIFF": lambda values: tiff(values, ">", packed=True),
    "PNM": lambda v: (
        f"P{5 + (v.shape[-1] == 3)} 32 32 65535\n".encode() + v.astype(">u2").tobytes()
    ),
}
