"""The .fft container, encoded by clauses 4.1 to 4.3 without a check of anything."""

from __future__ import annotations

import hashlib
import json
import math
import struct
from collections.abc import Mapping, Sequence
from typing import Any, Final, NamedTuple

CODES: Final = {
    "BOOL": "?",
    "U8": "B",
    "I8": "b",
    "U16": "H",
    "I16": "h",
    "F16": "e",
    "BF16": "H",
    "U32": "I",
    "I32": "i",
    "F32": "f",
    "U64": "Q",
    "I64": "q",
    "F64": "d",
}
"""dtype -> the letter of Python's struct; BF16 travels as its bits."""

WIDE_INTEGERS: Final = ("U64", "I64")


class Tensor(NamedTuple):
    """An array: its dtype, its shape and its bytes."""

    dtype: str
    shape: tuple[int, ...]
    data: bytes


def tensor(dtype: str, shape: Sequence[int], values: Sequence[float]) -> Tensor:
    """Returns the tensor of the flat `values`, row-major; BF16 takes exact values."""
    numbers = [_bf16_bits(v) for v in values] if dtype == "BF16" else list(values)
    data = struct.pack(f"<{len(numbers)}{CODES[dtype]}", *numbers)
    return Tensor(dtype, tuple(shape), data)


def values_of(array: Tensor) -> list[Any]:
    """Returns the flat values for a JSON twin: 64-bit integers and non-finite numbers as text.

    A byte of BOOL is false, true, or its number where it is above 1.
    """
    if array.dtype == "BOOL":
        return [bool(byte) if byte < 2 else byte for byte in array.data]
    letter = CODES[array.dtype]
    count = len(array.data) // struct.calcsize(letter)
    values: list[Any] = list(struct.unpack(f"<{count}{letter}", array.data))
    if array.dtype == "BF16":
        values = [struct.unpack("<f", struct.pack("<I", bits << 16))[0] for bits in values]
    if array.dtype in WIDE_INTEGERS:
        return [str(value) for value in values]
    return [value if math.isfinite(value) else str(value) for value in values]


def _bf16_bits(value: float) -> int:
    (bits,) = struct.unpack("<I", struct.pack("<f", value))
    if bits & 0xFFFF:
        raise ValueError(value)
    return int(bits >> 16)


def digest(manifest: str, tensors: Mapping[str, Tensor]) -> str:
    """Returns the digest of clause 4.3."""
    text = f"fourier-format digest 1\nmanifest\t{_sha256(manifest.encode())}\n"
    for name in sorted(tensors, key=lambda n: n.encode("utf-8", "surrogatepass")):
        dtype, shape, data = tensors[name]
        text += f"tensor\t{name}\t{dtype}\t{','.join(map(str, shape))}\t{_sha256(data)}\n"
    return _sha256(text.encode("utf-8", "surrogatepass"))


def _sha256(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()


def in_file_order(tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Returns the tensors in the order of clause 4.2."""

    def key(name: str) -> tuple[int, bytes]:
        return -struct.calcsize(CODES[tensors[name].dtype]), name.encode("utf-8", "surrogatepass")

    return {name: tensors[name] for name in sorted(tensors, key=key)}


def header(manifest: str, tensors: Mapping[str, Tensor]) -> dict[str, Any]:
    """Returns the header as a dictionary, its members in canonical order."""
    metadata = {"fourier_format": manifest, "fourier_format_sha256": digest(manifest, tensors)}
    result: dict[str, Any] = {"__metadata__": metadata}
    position = 0
    for name, array in in_file_order(tensors).items():
        end = position + len(array.data)
        result[name] = {
            "dtype": array.dtype,
            "shape": list(array.shape),
            "data_offsets": [position, end],
        }
        position = end
    return result


def compact(value: Any) -> str:
    """Returns JSON text without white space and with the least escapes."""
    return json.dumps(value, ensure_ascii=False, separators=(",", ":"))


def assemble(header_text: str | bytes, data: bytes, align: int = 8) -> bytes:
    """Returns the file of a header, padded to a multiple of `align`, and the tensors' bytes."""
    text = header_text.encode() if isinstance(header_text, str) else header_text
    text += b" " * (-len(text) % align)
    return struct.pack("<Q", len(text)) + text + data


def data_of(tensors: Mapping[str, Tensor]) -> bytes:
    """Returns the tensors' bytes in file order."""
    return b"".join(array.data for array in in_file_order(tensors).values())


def fft(manifest: str, tensors: Mapping[str, Tensor]) -> bytes:
    """Returns the .fft file of `manifest` and `tensors`, whatever they are."""
    return assemble(compact(header(manifest, tensors)), data_of(tensors))
