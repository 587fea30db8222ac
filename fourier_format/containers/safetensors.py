"""The .fft container: a safetensors file in one defined byte order (spec, clauses 4.1 and 4.2).

Written here and not through the safetensors library, which writes its metadata in random order;
the tests check that the library reads what this writes. The reader parses the header, encodes it
again and compares, so that every bit of the file is held by a rule or by the digest.
"""

from __future__ import annotations

import math
import re
import struct
from collections.abc import Mapping
from typing import Any, Final, NamedTuple, NoReturn

import numpy as np

from fourier_format import limits, strict_json
from fourier_format.adapter import Array
from fourier_format.document import Document, check_digest
from fourier_format.dtypes import DTYPES, dtype_name, little_endian_bytes
from fourier_format.errors import InvalidAdapterError, Violation
from fourier_format.recent import Recent

MANIFEST_KEY: Final = "fourier_format"
DIGEST_KEY: Final = "fourier_format_sha256"


def encode(document: Document) -> bytes:
    """Returns the file's bytes; equal documents give equal bytes."""
    metadata = {MANIFEST_KEY: document.manifest, DIGEST_KEY: document.digest()}
    return encode_plain(document.tensors, metadata)


def encode_plain(tensors: Mapping[str, Array], metadata: Mapping[str, str]) -> bytes:
    """Returns any safetensors file's bytes, in the order that clause 4.2 defines."""
    names = _file_order({n: array.dtype.itemsize for n, array in tensors.items()})
    layout = {n: (_name_of(tensors[n]), tensors[n].shape) for n in names}
    header = _encode_header(metadata, layout)
    parts: list[bytes | memoryview] = [struct.pack("<Q", len(header)), header]
    parts += [little_endian_bytes(tensors[n]) for n in names]
    return b"".join(parts)


def decode(data: bytes, where: str) -> Document:
    """Returns the content of a .fft file.

    Args:
        data: The whole file.
        where: The file's name, for errors.

    Raises:
        InvalidAdapterError: E-CONTAINER-*, E-NOT-FOURIER-FORMAT, E-JSON-* or E-DIGEST.
    """
    text, start = _header_bytes(data, where)
    found = _STATED.search(text)
    key = (text[: found.start(1)], text[found.end(1) :]) if found else (text, b"")
    header, stated = HEADERS.get(key), found[1].decode() if found else ""
    if header is not None:
        tensors = _slice_tensors(data, start, header.layout, where)
    else:
        header, stated = _read_header(text, where)
        tensors = _slice_tensors(data, start, header.layout, where)
        _refuse_other_orders(text, header, stated, where)
        if found and found[1].decode() == stated:
            HEADERS.put(key, header, len(text))
    document = Document(header.manifest, tensors)
    check_digest(document, stated, where)
    return document


def refuse_others(head: bytes, where: str) -> None:
    """Refuse a file whose first bytes, its header whole, are not an adapter's.

    Raises:
        InvalidAdapterError: E-CONTAINER-*, E-NOT-FOURIER-FORMAT or E-JSON-*.
    """
    text, _ = _header_bytes(head, where)
    _read_header(text, where)


class _Tensor(NamedTuple):
    """One tensor as the header states it."""

    dtype: str
    shape: tuple[int, ...]
    begin: int
    end: int


class _Header(NamedTuple):
    """What a header says, but for the digest."""

    manifest: str
    layout: dict[str, _Tensor]


_STATED: Final = re.compile(rf'","{DIGEST_KEY}":"([0-9a-f]{{64}})"'.encode())
"""The digest in a canonical header, and nothing else: a quote inside a string has a backslash
before it and never a comma, so that the first place where this fits is the key itself."""

HEADERS: Final[Recent[tuple[bytes, bytes], _Header]] = Recent()
"""Canonical headers by what stands before and after the digest. Other digits there make a header
that is as canonical and says the same otherwise, whose digest is compared with its own content."""


def _header_bytes(data: bytes, where: str) -> tuple[bytes, int]:
    """Returns the header and the offset at which the tensor data begins."""
    if len(data) < 8:
        _fail("E-CONTAINER-TRUNCATED", where, "too short for a header", f"{len(data)} bytes")
    (length,) = struct.unpack_from("<Q", data)
    if length > limits.MAX_HEADER_BYTES:
        advice = "a .fft file is a safetensors file; is this one?"
        _fail(
            "E-CONTAINER-HEADER", where, "the header is too long", f"{length} bytes", advice=advice
        )
    if 8 + length > len(data):
        _fail("E-CONTAINER-TRUNCATED", where, "the file ends inside its header")
    return data[8 : 8 + length], 8 + length


def _read_header(text: bytes, where: str) -> tuple[_Header, str]:
    """Returns what the header says, tensors in its order, and the digest that it states."""
    try:
        decoded = text.decode("utf-8")
    except UnicodeDecodeError:
        _fail("E-CONTAINER-HEADER", where, "the header is not UTF-8")
    header = strict_json.loads(decoded, f"{where}, header", limits.MAX_HEADER_BYTES)
    if not isinstance(header, dict):
        _fail("E-CONTAINER-HEADER", where, "the header is not a JSON object")
    metadata = header.get("__metadata__")
    if not isinstance(metadata, dict) or MANIFEST_KEY not in metadata:
        _fail(
            "E-NOT-FOURIER-FORMAT",
            where,
            "a safetensors file without a fourier_format manifest",
            advice="a PEFT checkpoint is converted with: fourier-convert DIR --to fft --base BASE",
        )
    if sorted(metadata) != [MANIFEST_KEY, DIGEST_KEY]:
        expected = f"{MANIFEST_KEY} and {DIGEST_KEY}"
        _fail("E-CONTAINER-HEADER", where, "wrong keys in __metadata__", expected=expected)
    if not all(isinstance(value, str) for value in metadata.values()):
        _fail("E-CONTAINER-HEADER", where, "__metadata__ holds something other than text")
    layout = {
        name: _parse_entry(entry, f"{where}, tensor {name!r}")
        for name, entry in header.items()
        if name != "__metadata__"
    }
    return _Header(metadata[MANIFEST_KEY], layout), metadata[DIGEST_KEY]


def _refuse_other_orders(text: bytes, header: _Header, stated: str, where: str) -> None:
    """Compare the header's `text` with the one that this writer makes of what it says."""
    metadata = {MANIFEST_KEY: header.manifest, DIGEST_KEY: stated}
    sizes = {name: DTYPES[tensor.dtype].itemsize for name, tensor in header.layout.items()}
    layout = {name: (tensor.dtype, tensor.shape) for name, tensor in header.layout.items()}
    if _encode_header(metadata, layout) != text or list(layout) != _file_order(sizes):
        _fail("E-CONTAINER-CANONICAL", where, "the header is not in the canonical order")


def _parse_entry(entry: Any, where: str) -> _Tensor:
    if not isinstance(entry, dict) or set(entry) != {"dtype", "shape", "data_offsets"}:
        _fail("E-CONTAINER-HEADER", where, "not a tensor entry of dtype, shape, data_offsets")
    dtype, shape, offsets = entry["dtype"], entry["shape"], entry["data_offsets"]
    if not isinstance(dtype, str) or dtype not in DTYPES:
        _fail("E-CONTAINER-DTYPE", where, "unknown dtype", repr(dtype)[:40], ", ".join(DTYPES))
    if not _is_natural_list(shape):
        _fail("E-CONTAINER-HEADER", where, "the shape is not a list of natural numbers")
    if not limits.allow_shape(shape):
        _fail("E-LIMIT", where, "a dimension is zero or too large, or too many", str(shape)[:80])
    if not _is_natural_list(offsets) or len(offsets) != 2:
        _fail("E-CONTAINER-HEADER", where, "data_offsets is not a pair of natural numbers")
    return _Tensor(dtype, tuple(shape), *offsets)


def _is_natural_list(value: Any) -> bool:
    return isinstance(value, list) and all(type(item) is int and item >= 0 for item in value)


def _slice_tensors(
    data: bytes, start: int, layout: Mapping[str, _Tensor], where: str
) -> dict[str, Array]:
    """Returns the arrays as views of `data`, after checking that they tile it exactly."""
    position = 0
    tensors: dict[str, Array] = {}
    for name, (dtype_key, shape, begin, end) in layout.items():
        dtype = DTYPES[dtype_key]
        place = f"{where}, tensor {name!r}"
        size = math.prod(shape)
        if begin != position or end - begin != size * dtype.itemsize:
            expected = f"[{position}, {position + size * dtype.itemsize}]"
            _fail("E-CONTAINER-OFFSETS", place, "wrong data_offsets", f"[{begin}, {end}]", expected)
        if start + end > len(data):
            _fail("E-CONTAINER-TRUNCATED", place, "the file ends inside this tensor")
        tensors[name] = np.frombuffer(data, dtype, size, start + begin).reshape(shape)
        position = end
    if start + position != len(data):
        extra = f"{len(data) - start - position} bytes more"
        _fail("E-CONTAINER-OFFSETS", where, "the file goes on after its last tensor", extra)
    return tensors


def _file_order(sizes: Mapping[str, int]) -> list[str]:
    """Wide items first, so that every array is aligned; then by the name's UTF-8 bytes."""
    return sorted(sizes, key=lambda n: (-sizes[n], n.encode()))


def _encode_header(
    metadata: Mapping[str, str], layout: Mapping[str, tuple[str, tuple[int, ...]]]
) -> bytes:
    header: dict[str, Any] = {"__metadata__": dict(metadata)}
    position = 0
    for name, (dtype, shape) in layout.items():
        end = position + math.prod(shape) * DTYPES[dtype].itemsize
        header[name] = {"dtype": dtype, "shape": list(shape), "data_offsets": [position, end]}
        position = end
    text = strict_json.dumps(header).encode("utf-8")
    return text + b" " * (-len(text) % 8)


def _name_of(array: Array) -> str:
    name = dtype_name(array.dtype)
    if name is None:
        _fail("E-CONTAINER-DTYPE", "tensor", "no name in the format", str(array.dtype))
    return name


def _fail(
    code: str,
    where: str,
    problem: str,
    got: str | None = None,
    expected: str | None = None,
    advice: str | None = None,
) -> NoReturn:
    raise InvalidAdapterError(Violation(code, where, problem, got, expected, advice))
