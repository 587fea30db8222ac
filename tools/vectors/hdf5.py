"""The .fft.h5 container: clause 4.4. Reading HDF5 is optional, so these stand apart.

The bytes of these files depend on the version of the HDF5 library; what they hold does not.
"""

from __future__ import annotations

import io
from collections.abc import Callable, Iterator, Mapping
from typing import Any, Final

import h5py
import numpy as np

from vectors.container import CODES, Tensor, compact, digest, tensor
from vectors.model import Vector
from vectors.samples import edited, full, minimal, tensors
from vectors.valid import file_and_twin

Edit = Callable[[Any], object]

_TAGGED: Final = {"BF16": "<u2", "BOOL": "u1"}
_ENTRIES: Final = "entries/4x6"
_COEFFICIENTS: Final = "coefficients/4x6"
_DIGEST: Final = "fourier_format_sha256"
_FLOATS: Final = np.array([[0.5, -1.0, 2.0]], "<f4")


def vectors() -> Iterator[Vector]:
    """Yields the vectors of HDF5: those that are read, then those that are refused."""
    yield from _read()
    feature, dtype, header = "E-HDF5-FEATURE", "E-CONTAINER-DTYPE", "E-CONTAINER-HEADER"
    for code, cases in (
        (feature, {**_LINKS, **_STORAGE}),
        (dtype, _DTYPES),
        (header, _HEADERS),
        ("E-LIMIT", _LIMITS),
        ("E-DIGEST", _CHANGES),
        ("E-NOT-FOURIER-FORMAT", _ABSENT),
        ("E-CONTAINER-TRUNCATED", _LARGE),
        ("E-JSON-SYNTAX", _SYNTAX),
    ):
        for id_, (about, edit) in cases.items():
            yield _refused(id_, code, about, _encode(compact(minimal()), tensors(), edit))
    whole = _encode(compact(minimal()), tensors())
    yield _refused("cut", header, "the file ends early", whole[: len(whole) // 2])


def _refused(id_: str, code: str, about: str, file: bytes) -> Vector:
    files = {".fft.h5": file}
    return Vector(id=id_, kind="hdf5", clause="4.4", about=about, files=files, codes=(code,))


def _read() -> Iterator[Vector]:
    manifest, arrays = full()
    odd = {name: tensor("U8", (1,), (k,)) for k, name in enumerate(("../up", "a b%2F", ".", "é"))}
    named = edited(minimal(), ("replacements",), list(odd))
    named_arrays = tensors() | {f"replacements/{name}": array for name, array in odd.items()}
    every = edited(minimal(), ("replacements",), list(CODES))
    every_arrays = {f"replacements/{dtype}": tensor(dtype, (2,), (0, 1)) for dtype in CODES}
    for id_, about, fields, content in (
        ("minimal", "only what is required", minimal(), tensors()),
        ("every-field", "every field", manifest, arrays),
        ("every-dtype", "every dtype", every, tensors() | every_arrays),
        ("escaped-names", "names that paths cannot hold", named, named_arrays),
    ):
        text = compact(fields)
        files = {".fft.h5": _encode(text, content), ".json": file_and_twin(text, content)[".json"]}
        yield Vector(id=id_, kind="hdf5", clause="4.4", about=about, files=files)


def _encode(
    manifest: str, arrays: Mapping[str, Tensor], edit: Edit | None = None, **options: Any
) -> bytes:
    with io.BytesIO() as buffer:
        with h5py.File(buffer, "w", libver=("v108", "v108"), **options) as file:
            file.create_dataset("fourier_format", data=np.frombuffer(manifest.encode(), np.uint8))
            file.attrs[_DIGEST] = np.bytes_(digest(manifest, arrays))
            for name in sorted(arrays, key=str.encode):
                _write(file, name, arrays[name])
            if edit is not None:
                edit(file)
        return buffer.getvalue()


def _write(file: Any, name: str, array: Tensor) -> None:
    pieces = name.split("/", 2 if name.startswith("fingerprints/") else 1)
    path = "/".join(_escaped(piece) for piece in pieces)
    letter = _TAGGED.get(array.dtype, f"<{CODES[array.dtype]}")
    data = np.frombuffer(array.data, letter).reshape(array.shape)
    dataset = file.create_dataset(path, data=data)  # by [path] = data it would hold the time
    if array.dtype in _TAGGED:
        dataset.attrs["dtype"] = np.bytes_(array.dtype)


def _escaped(piece: str) -> str:
    text = piece.replace("%", "%25").replace("/", "%2F")
    return "%2E" + text[1:] if text.startswith(".") else text


def _replace(path: str, data: Any, **options: Any) -> Edit:
    """Returns an edit that stores `data` at `path` in another way."""

    def edit(file: Any) -> None:
        if path in file:
            del file[path]
        file.create_dataset(path, data=data, **options)

    return edit


def _set(path: str, value: Any) -> Edit:
    """Returns an edit that makes a link or an object at `path`."""

    def edit(file: Any) -> None:
        if path in file:
            del file[path]
        file[path] = value

    return edit


def _compact(file: Any) -> None:
    del file[_COEFFICIENTS]
    properties = h5py.h5p.create(h5py.h5p.DATASET_CREATE)
    properties.set_layout(h5py.h5d.COMPACT)
    properties.set_obj_track_times(False)
    space = h5py.h5s.create_simple(_FLOATS.shape)
    kind = h5py.h5t.IEEE_F32LE
    dataset = h5py.h5d.create(file["coefficients"].id, b"4x6", kind, space, properties)
    dataset.write(h5py.h5s.ALL, h5py.h5s.ALL, _FLOATS)


def _hard_link(file: Any) -> None:
    file["coefficients/again"] = file[_COEFFICIENTS]


def _cycle(file: Any) -> None:
    file["entries/loop"] = file["entries"]


_LINKS: Final[dict[str, tuple[str, Edit]]] = {
    "soft-link": ("a soft link", _set(_COEFFICIENTS, h5py.SoftLink("/entries/4x6"))),
    "external-link": ("an external link", _set(_COEFFICIENTS, h5py.ExternalLink("x.h5", "/c"))),
    "hard-link": ("two links to one dataset", _hard_link),
    "cycle": ("a group inside itself", _cycle),
    "deep-group": ("groups nested too deep", _replace("a/b/c/d", _FLOATS)),
    "path-unescaped": ("a path that no name gives", _replace("replacements/a/b", _FLOATS)),
    "path-escaped": ("an escape that is not needed", _replace("entries/%34x6", _FLOATS)),
}
_STORAGE: Final[dict[str, tuple[str, Edit]]] = {
    "chunked": ("chunks", _replace(_COEFFICIENTS, _FLOATS, chunks=(1, 3))),
    "compressed": ("compression", _replace(_COEFFICIENTS, _FLOATS, compression="gzip")),
    "checksummed": ("a checksum filter", _replace(_COEFFICIENTS, _FLOATS, fletcher32=True)),
    "compact": ("compact storage", _compact),
    "external-data": (
        "data in another file",
        lambda file: file.create_dataset(
            "entries/far", (3,), "<f4", external=[("/dev/null", 0, 12)]
        ),
    ),
    "null-space": ("no data space", _replace(_COEFFICIENTS, h5py.Empty("<f4"))),
}
_DTYPES: Final[dict[str, tuple[str, Edit]]] = {
    "big-endian": ("big-endian numbers", _replace(_COEFFICIENTS, _FLOATS.astype(">f4"))),
    "text": ("text for numbers", _replace(_COEFFICIENTS, np.array([[b"abc"]]))),
    "enumeration": ("an enumeration for BOOL", _replace("entries/flag", np.array([True]))),
    "complex": ("complex numbers", _replace(_COEFFICIENTS, _FLOATS.astype("<c8"))),
    "tag-unfit": (
        "a dtype attribute on float32",
        lambda file: file[_COEFFICIENTS].attrs.create("dtype", np.bytes_("BF16")),
    ),
    "tag-unknown": (
        "a dtype attribute that is none",
        lambda file: file[_COEFFICIENTS].attrs.create("dtype", np.bytes_("F32")),
    ),
}
_HEADERS: Final[dict[str, tuple[str, Edit]]] = {
    "manifest-integers": (
        "a manifest that is no list of bytes",
        _replace("fourier_format", np.zeros(4, "<i4")),
    ),
}
_LIMITS: Final[dict[str, tuple[str, Edit]]] = {
    "dimension-zero": ("an empty dataset", _replace("entries/none", np.zeros((0, 2), "<i4"))),
    "rank-9": ("nine dimensions", _replace("entries/nine", np.zeros((1,) * 9, "<i4"))),
}
_CHANGES: Final[dict[str, tuple[str, Edit]]] = {
    "number-changed": ("a coefficient was changed", _replace(_COEFFICIENTS, _FLOATS * 2)),
    "dtype-changed": (
        "the same values in another dtype",
        _replace(_COEFFICIENTS, _FLOATS.astype("<f2")),
    ),
    "manifest-changed": (
        "the manifest was changed",
        _replace("fourier_format", np.frombuffer(compact(minimal()).encode() + b" ", np.uint8)),
    ),
    "digest-upper-case": (
        "upper-case digits",
        lambda file: file.attrs.create(
            _DIGEST, np.bytes_(digest(compact(minimal()), tensors()).upper())
        ),
    ),
    "tensor-more": ("a tensor was added", _replace("entries/more", _FLOATS)),
}
_ABSENT: Final[dict[str, tuple[str, Edit]]] = {
    "no-manifest": ("no manifest", lambda file: file.pop("fourier_format")),
    "no-digest": ("no digest", lambda file: file.attrs.pop(_DIGEST)),
}
_LARGE: Final[dict[str, tuple[str, Edit]]] = {
    "larger-than-file": (
        "a dataset that was never written and stands for 4 GB",
        lambda file: file.create_dataset("entries/large", (2**30,), "<f4"),
    ),
}
_SYNTAX: Final[dict[str, tuple[str, Edit]]] = {
    "manifest-latin-1": (
        "a manifest in Latin-1",
        _replace("fourier_format", np.frombuffer(b'{"a":"\xe9"}', np.uint8)),
    ),
}
