"""Small pictures as PNG in a data URI: signed strengths in two hues, transparent where nothing is.

One picture serves light and dark pages: what is weak fades into whatever lies behind it. Written
here because a palette and a filter of zero are all that is needed of PNG (W3C, "Portable Network
Graphics", third edition, clauses 5 and 11).
"""

from __future__ import annotations

import base64
import struct
import zlib
from typing import Final

import numpy as np

from fourier_format.adapter import Array

LEVELS: Final = 15
"""Steps of strength."""

Hue = tuple[int, int, int]
POSITIVE: Final[Hue] = (224, 98, 42)
NEGATIVE: Final[Hue] = (47, 123, 214)
UNSIGNED: Final[Hue] = (150, 96, 220)
_FAINTEST: Final = 70
"""Of 255: what is there at all is seen."""


def data_uri(strengths: Array, positive: Hue = POSITIVE) -> str:
    """Returns a picture as a data URI, one pixel a cell.

    Args:
        strengths: (h, w) from -1 to 1: the sign chooses the hue, 0 is transparent.
        positive: The hue of what is positive.
    """
    data = base64.b64encode(encode(strengths, positive)).decode()
    return f"data:image/png;base64,{data}"


def encode(strengths: Array, positive: Hue = POSITIVE) -> bytes:
    """Returns a picture as the bytes of a PNG with a palette; see `data_uri`."""
    levels = np.ceil(np.abs(strengths) * LEVELS).clip(0, LEVELS).astype(np.uint8)
    pixels = np.where(strengths < 0, levels + LEVELS, levels).astype(np.uint8)  # (h, w)
    rows = np.concatenate([np.zeros((len(pixels), 1), np.uint8), pixels], axis=1)  # filter: none
    size = struct.pack(">IIBBBBB", pixels.shape[1], pixels.shape[0], 8, 3, 0, 0, 0)
    return b"".join(
        [
            b"\x89PNG\r\n\x1a\n",
            _chunk(b"IHDR", size),
            _chunk(b"PLTE", bytes((0, 0, 0, *positive * LEVELS, *NEGATIVE * LEVELS))),
            _chunk(b"tRNS", bytes((0, *_opacities(), *_opacities()))),
            _chunk(b"IDAT", zlib.compress(rows.tobytes(), 9)),
            _chunk(b"IEND", b""),
        ]
    )


def _opacities() -> list[int]:
    return [_FAINTEST + (255 - _FAINTEST) * step // (LEVELS - 1) for step in range(LEVELS)]


def _chunk(kind: bytes, data: bytes) -> bytes:
    checksum = zlib.crc32(kind + data)
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", checksum)
