"""Files whose container is broken: clauses 4.1 to 4.3. The manifest in them is valid."""

from __future__ import annotations

import copy
import json
import struct
from collections.abc import Iterator, Mapping
from typing import Any, Final

from vectors.container import Tensor, assemble, compact, data_of, fft, header, tensor
from vectors.model import Vector
from vectors.samples import REMOVE, Path, edited, minimal, tensors

Json = dict[str, Any]

_MANIFEST: Final = compact(minimal())
_ENTRIES: Final = "entries/4x6"
_COEFFICIENTS: Final = "coefficients/4x6"
_ANY_DAMAGE: Final = (
    "E-CONTAINER-TRUNCATED",
    "E-CONTAINER-HEADER",
    "E-CONTAINER-OFFSETS",
    "E-CONTAINER-CANONICAL",
    "E-JSON-SYNTAX",
)
_NOT_AN_INTEGER: Final = ("E-CONTAINER-CANONICAL", "E-CONTAINER-HEADER")
"""Either code is right for a number of the header that has a fraction or an exponent."""


def vectors() -> Iterator[Vector]:
    """Yields the vectors of broken containers."""
    yield from _lengths()
    yield from _texts()
    yield from _members()
    yield from _offsets()
    yield from _canonical()
    yield from _digests()
    yield from _flipped_bits()


def _vector(id_: str, code: str | tuple[str, ...], clause: str, about: str, file: bytes) -> Vector:
    codes = (code,) if isinstance(code, str) else code
    files = {".fft": file}
    return Vector(id=id_, kind="invalid", clause=clause, about=about, files=files, codes=codes)


def _header() -> Json:
    return header(_MANIFEST, tensors())


def _file(head: Json | str, data: bytes | None = None, align: int = 8) -> bytes:
    text = head if isinstance(head, str) else compact(head)
    return assemble(text, data_of(tensors()) if data is None else data, align)


def _lengths() -> Iterator[Vector]:
    good = fft(_MANIFEST, tensors())
    (length,) = struct.unpack_from("<Q", good)
    code = "E-CONTAINER-TRUNCATED"
    for id_, about, file in (
        ("empty-file", "no byte at all", b""),
        ("cut-in-length", "7 bytes", good[:7]),
        ("cut-in-header", "the header ends early", good[: 8 + length // 2]),
        ("cut-after-header", "no tensor data", good[: 8 + length]),
        ("cut-in-data", "the last byte is missing", good[:-1]),
        ("header-beyond-file", "a header longer than the file", b"\x00\x10" + good[2:]),
    ):
        yield _vector(id_, code, "4.1", about, file)
    code = "E-CONTAINER-HEADER"
    above = struct.pack("<Q", 100_000_001) + good[8:]
    yield _vector("header-too-long", code, "4.1", "one byte above the limit", above)
    bomb = b"\xff" * 8 + good[8:]
    yield _vector("header-length-2-64", code, "4.1", "the largest length there is", bomb)
    code = "E-CONTAINER-OFFSETS"
    yield _vector("trailing-byte", code, "4.1", "a byte after the last tensor", good + b"\x00")


def _texts() -> Iterator[Vector]:
    good = compact(_header())
    latin = good.replace("encoder", "encod\xe9r").encode("latin-1")
    file = assemble(latin, data_of(tensors()))
    yield _vector("header-latin-1", "E-CONTAINER-HEADER", "4.1", "a header in Latin-1", file)
    nested = '{"a":' * 33 + "1" + "}" * 33
    for id_, code, about, text in (
        ("header-not-json", "E-JSON-SYNTAX", "an unclosed header", good[:-1]),
        ("header-empty", "E-JSON-SYNTAX", "a header of no bytes", ""),
        ("header-spaces", "E-JSON-SYNTAX", "a header of spaces", " " * 8),
        ("header-byte-order-mark", "E-JSON-SYNTAX", "a byte order mark", "\ufeff" + good),
        ("header-list", "E-CONTAINER-HEADER", "a list for a header", "[]"),
        ("header-nan", "E-JSON-NUMBER", "NaN in the header", good.replace("[0,12]", "[NaN,12]")),
        ("header-depth-33", "E-JSON-DEPTH", "a header nested too deep", nested),
        (
            "header-duplicate-tensor",
            "E-JSON-DUPLICATE-KEY",
            "two tensors of one name",
            good.replace(_COEFFICIENTS, _ENTRIES),
        ),
        (
            "header-half-surrogate",
            "E-JSON-SURROGATE",
            "half of a surrogate pair in a tensor's name",
            good.replace(_COEFFICIENTS, "\\ud83d"),
        ),
        (
            "not-an-adapter",
            "E-NOT-FOURIER-FORMAT",
            "a safetensors file of something else",
            compact(edited(_header(), ("__metadata__",), {"format": "pt"})),
        ),
        (
            "no-metadata",
            "E-NOT-FOURIER-FORMAT",
            "a safetensors file without metadata",
            compact(edited(_header(), ("__metadata__",), REMOVE)),
        ),
    ):
        yield _vector(id_, code, "5.1" if "JSON" in code else "4.1", about, _file(text))


def _members() -> Iterator[Vector]:
    data = ("__metadata__",)
    first, second = (_COEFFICIENTS,), (_ENTRIES,)
    header_, dtype, limit = "E-CONTAINER-HEADER", "E-CONTAINER-DTYPE", "E-LIMIT"
    other = "E-NOT-FOURIER-FORMAT"
    rows: tuple[tuple[str, str | tuple[str, ...], str, Path, Any], ...] = (
        ("metadata-null", other, "null for metadata", data, None),
        ("metadata-list", other, "a list for metadata", data, ["fourier_format"]),
        ("metadata-text", other, "text for metadata", data, "fourier_format"),
        ("metadata-no-manifest", other, "a digest alone", (*data, "fourier_format"), REMOVE),
        ("metadata-extra", header_, "a third member", (*data, "format"), "pt"),
        ("metadata-no-digest", header_, "no digest", (*data, "fourier_format_sha256"), REMOVE),
        ("metadata-object", header_, "a manifest that is no text", (*data, "fourier_format"), {}),
        ("tensor-extra-member", header_, "a fourth member", (*first, "strides"), [3, 1]),
        ("tensor-no-shape", header_, "no shape", (*first, "shape"), REMOVE),
        ("tensor-list", header_, "a list for a tensor", first, []),
        ("shape-text", header_, "a shape that is no list", (*first, "shape"), "1,3"),
        ("shape-float", _NOT_AN_INTEGER, "1.0 in a header", (*first, "shape"), [1.0, 3]),
        ("offsets-float", _NOT_AN_INTEGER, "12.0", (*first, "data_offsets"), [0, 12.0]),
        ("shape-fraction", header_, "1.5 in a header", (*first, "shape"), [1.5, 2]),
        ("shape-bool", header_, "true for 1", (*first, "shape"), [True, 3]),
        ("shape-negative", header_, "two negative dimensions", (*first, "shape"), [-1, -3]),
        ("offsets-negative", header_, "a negative begin", (*first, "data_offsets"), [-12, 0]),
        ("offsets-triple", header_, "three offsets", (*first, "data_offsets"), [0, 12, 12]),
        ("offsets-null", header_, "no offsets", (*first, "data_offsets"), None),
        ("dtype-float8", dtype, "a dtype of safetensors only", (*first, "dtype"), "F8_E4M3"),
        ("dtype-lower-case", dtype, "a dtype in lower case", (*first, "dtype"), "f32"),
        ("dtype-number", dtype, "a dtype that is no text", (*first, "dtype"), 32),
        ("dtype-list", dtype, "a dtype in a list", (*first, "dtype"), ["F32"]),
        ("dtype-null", dtype, "null for a dtype", (*first, "dtype"), None),
        ("dimension-zero", limit, "an empty tensor", (*second, "shape"), [0, 2]),
        ("dimension-2-31", limit, "a dimension too large", (*second, "shape"), [2**31, 1]),
        ("rank-9", limit, "nine dimensions", (*second, "shape"), [3, 2, 1, 1, 1, 1, 1, 1, 1]),
    )
    for id_, code, about, path, value in rows:
        clause = "8" if code == "E-LIMIT" else "4.1"
        yield _vector(id_, code, clause, about, _file(edited(_header(), path, value)))


def _offsets() -> Iterator[Vector]:
    first, second = (_COEFFICIENTS, "data_offsets"), (_ENTRIES, "data_offsets")
    data = data_of(tensors())
    hole = data[:12] + bytes(8) + data[12:]
    rows: tuple[tuple[str, str, dict[Path, list[int]], bytes], ...] = (
        ("offsets-overlap", "two tensors share bytes", {second: [4, 28]}, data[:28]),
        ("offsets-hole", "bytes that belong to no tensor", {second: [20, 44]}, hole),
        ("offsets-not-from-zero", "the first does not begin at 0", {first: [8, 20]}, hole),
        ("offsets-reversed", "an end before its begin", {first: [12, 0]}, data),
        ("offsets-short", "fewer bytes than the shape says", {first: [0, 8]}, data),
    )
    for id_, about, edits, content in rows:
        head = _header()
        for path, value in edits.items():
            head = edited(head, path, value)
        yield _vector(id_, "E-CONTAINER-OFFSETS", "4.1", about, _file(head, content))
    swapped = _header()
    swapped[_COEFFICIENTS]["data_offsets"], swapped[_ENTRIES]["data_offsets"] = [24, 36], [0, 24]
    about = "tensors that tile the file in another order than the header's"
    yield _vector("offsets-permuted", "E-CONTAINER-OFFSETS", "4.1", about, _file(swapped))
    bomb = edited(_header(), (_ENTRIES, "shape"), [2**16, 2**16, 2**16, 2**16])
    bomb = edited(bomb, second, [12, 12])
    about = "a product of dimensions that is 0 modulo 2^64"
    file = _file(bomb, data[:12])
    yield _vector("shape-overflow", "E-CONTAINER-OFFSETS", "4.1", about, file)
    large = edited(_header(), (_ENTRIES, "shape"), [2**31 - 1, 2])
    large = edited(large, second, [12, 12 + (2**31 - 1) * 8])
    about = "the largest dimension: tensors that tile, but end beyond the file"
    yield _vector("dimension-largest", "E-CONTAINER-TRUNCATED", "4.1", about, _file(large))


def _reordered(head: Json, path: tuple[str, ...]) -> Json:
    """Returns a copy in which the members of the object at `path` stand in reverse order."""
    result = copy.deepcopy(head)
    place = result
    for step in path:
        place = place[step]
    items = list(place.items())
    place.clear()
    place.update(reversed(items))
    return result


def _canonical() -> Iterator[Vector]:
    head = _header()
    good = compact(head)
    first = next(iter(head))
    later = {name: value for name, value in head.items() if name != first} | {first: head[first]}
    long = compact(header(_MANIFEST + "\t", tensors())).replace("\\t", "\\u0009")
    accent = header(compact(minimal() | {"metadata": {"a": "é"}}), tensors())
    minus = good.replace('"data_offsets":[0,', '"data_offsets":[-0,')
    rows: tuple[tuple[str, str, bytes], ...] = (
        (
            "header-white-space",
            "a space after a colon",
            _file(good.replace('"shape":[3', '"shape": [3')),
        ),
        ("header-leading-space", "a space before the header", _file(" " + good)),
        ("header-unpadded", "no padding", _file(good, align=1)),
        ("header-padded-16", "more padding than is needed", _file(good + " " * 8)),
        ("header-padded-lines", "line feeds for padding", _file(_padded(good, "\n"))),
        ("metadata-last", "__metadata__ after the tensors", _file(later)),
        ("metadata-order", "the digest first", _file(_reordered(head, ("__metadata__",)))),
        ("tensor-member-order", "shape before dtype", _file(_reordered(head, (_ENTRIES,)))),
        (
            "escape-needless",
            "an escaped slash",
            _file(good.replace("entries/4x6", "entries\\/4x6")),
        ),
        ("escape-long", "a long escape for a tab", _file(long)),
        ("escape-ascii", "a header in ASCII", _file(json.dumps(accent, separators=(",", ":")))),
        ("offset-minus-zero", "-0 for 0", _file(minus)),
        ("tensor-order-names", "names in descending order", _in_order(_two_names(), -1)),
        ("tensor-order-sizes", "narrow elements first", _in_order(_two_sizes(), -1)),
        ("tensor-order-utf-16", "names ordered by UTF-16 units", _in_order(_two_planes(), -1)),
    )
    for id_, about, file in rows:
        yield _vector(id_, "E-CONTAINER-CANONICAL", "4.2", about, file)


def _padded(text: str, filler: str) -> str:
    return text + filler * (-len(text.encode()) % 8)


def _two_names() -> Mapping[str, Tensor]:
    return {"a": tensor("U8", (1,), (1,)), "b": tensor("U8", (1,), (2,))}


def _two_sizes() -> Mapping[str, Tensor]:
    return {"a": tensor("U16", (1,), (1,)), "b": tensor("U8", (1,), (2,))}


def _two_planes() -> Mapping[str, Tensor]:
    return {"\uff5e": tensor("U8", (1,), (1,)), "\U0001f600": tensor("U8", (1,), (2,))}


def _in_order(replaced: Mapping[str, Tensor], step: int) -> bytes:
    """Returns a file whose replacements, alone, stand in reverse of the canonical order."""
    manifest = compact(minimal() | {"replacements": list(replaced)})
    arrays = tensors() | {f"replacements/{name}": array for name, array in replaced.items()}
    head = header(manifest, arrays)
    fixed = ["__metadata__", _COEFFICIENTS, _ENTRIES]
    names = [*fixed[1:], *[name for name in head if name not in fixed][::step]]
    result: Json = {"__metadata__": head["__metadata__"]}
    position = 0
    for name in names:
        end = position + len(arrays[name].data)
        result[name] = head[name] | {"data_offsets": [position, end]}
        position = end
    return assemble(compact(result), b"".join(arrays[name].data for name in names))


def _digests() -> Iterator[Vector]:
    key: Path = ("__metadata__", "fourier_format_sha256")
    head, data = _header(), data_of(tensors())
    stated = head["__metadata__"]["fourier_format_sha256"]
    other = header(_MANIFEST, tensors("F32", (0.5, -1.0, 3.0)))
    wrong = other["__metadata__"]["fourier_format_sha256"]
    renamed = compact(head).replace(_COEFFICIENTS, "coefficients/4x7")
    half = header(_MANIFEST, tensors("F16"))
    recast = compact(half).replace('"F16"', '"BF16"')
    rows: tuple[tuple[str, str, bytes], ...] = (
        ("digest-upper-case", "upper-case digits", _file(edited(head, key, stated.upper()))),
        ("digest-short", "half of the digits", _file(edited(head, key, stated[:32]))),
        ("digest-empty", "no digits", _file(edited(head, key, ""))),
        ("digest-of-another", "another adapter's digest", _file(edited(head, key, wrong))),
        ("digest-tensor-renamed", "a tensor's name was changed", _file(renamed)),
        ("digest-tensor-recast", "a dtype was changed", _file(recast, data_of(tensors("F16")))),
        (
            "digest-tensor-reshaped",
            "a shape was changed",
            _file(edited(head, (_ENTRIES, "shape"), [2, 3])),
        ),
        ("digest-tensors-moved", "the data was exchanged", _file(head, data[12:] + data[:12])),
    )
    for id_, about, file in rows:
        yield _vector(id_, "E-DIGEST", "4.3", about, file)


def _flipped_bits() -> Iterator[Vector]:
    good = fft(_MANIFEST, tensors())
    text = compact(_header())
    places = {
        "length": (0, _ANY_DAMAGE),
        "padding": (8 + len(text), ("E-JSON-SYNTAX",)),
        "manifest": (good.index(b"2.5"), ("E-DIGEST",)),
        "digest": (good.index(b"sha256") + 10, ("E-DIGEST",)),
        "coefficients": (len(good) - 36, ("E-DIGEST",)),
        "entries": (len(good) - 24, ("E-DIGEST",)),
        "last-byte": (len(good) - 1, ("E-DIGEST",)),
    }
    for region, (offset, codes) in places.items():
        if region == "padding" and good[offset] != ord(" "):
            raise ValueError("this header has no padding")
        file = bytearray(good)
        file[offset] ^= 1
        about = f"one flipped bit: {region}"
        yield _vector(f"bit-{region}", codes, "4.2", about, bytes(file))
