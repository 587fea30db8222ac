"""The .fft.h5 container: the same Document in HDF5 (spec, clause 4.4).

libhdf5 is not safe on hostile files, so this refuses every feature that the format does not need
before it reads data; SECURITY.md says what remains.
"""

from __future__ import annotations

import io
import math
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any, Final, NoReturn
from urllib.parse import unquote

import numpy as np

from fourier_format import limits
from fourier_format.adapter import Array
from fourier_format.document import Document, check_digest
from fourier_format.dtypes import BFLOAT16, DTYPES, dtype_name
from fourier_format.errors import InvalidAdapterError, Violation, dependency_missing

if TYPE_CHECKING:
    import h5py

MAGIC: Final = b"\x89HDF\r\n\x1a\n"
MANIFEST_DATASET: Final = "fourier_format"
DIGEST_ATTRIBUTE: Final = "fourier_format_sha256"
DTYPE_ATTRIBUTE: Final = "dtype"
_CARRIERS: Final = {"BF16": np.dtype("<u2"), "BOOL": np.dtype("u1")}
_MAX_DEPTH: Final = 3
_MAX_TEXT: Final = 256


def encode(document: Document) -> bytes:
    """Returns the file's bytes.

    Raises:
        DependencyMissingError: h5py is not installed.
    """
    h5py = _h5py("writing .fft.h5")
    with io.BytesIO() as buffer:
        with h5py.File(buffer, "w", libver=("v108", "v108")) as file:
            manifest = np.frombuffer(document.manifest.encode(), np.uint8)
            file.create_dataset(MANIFEST_DATASET, data=manifest)
            file.attrs[DIGEST_ATTRIBUTE] = np.bytes_(document.digest())
            for name in sorted(document.tensors, key=str.encode):
                _write(file, name, document.tensors[name])
        return buffer.getvalue()


def decode(data: bytes, where: str) -> Document:
    """Returns the content of a .fft.h5 file.

    Raises:
        InvalidAdapterError: E-HDF5-FEATURE, E-CONTAINER-*, E-NOT-FOURIER-FORMAT or E-DIGEST.
        DependencyMissingError: h5py is not installed.
    """
    h5py = _h5py("reading .fft.h5")
    try:
        with h5py.File(io.BytesIO(data), "r") as file:
            return _decode(h5py, file, len(data), where)
    except (OSError, RuntimeError, KeyError, ValueError, TypeError, MemoryError) as error:
        if isinstance(error, InvalidAdapterError):
            raise
        _fail("E-CONTAINER-HEADER", where, f"HDF5 cannot read it: {error}")


def dataset_path(name: str) -> str:
    """Returns the HDF5 path of the tensor `name`: groups as far as names are the format's own."""
    depth = 3 if name.startswith("fingerprints/") else 2
    pieces = name.split("/", depth - 1)
    return "/".join(_escape(piece) for piece in pieces)


def _escape(piece: str) -> str:
    """A link name can hold neither "/" nor NUL, nor be "." or ".."."""
    escaped = piece.replace("%", "%25").replace("/", "%2F").replace("\0", "%00")
    return "%2E" + escaped[1:] if escaped.startswith(".") else escaped


def _h5py(purpose: str) -> Any:
    try:
        import h5py
    except ImportError:
        raise dependency_missing("h5py", "h5", purpose) from None
    return h5py


def _write(file: h5py.File, name: str, array: Array) -> None:
    dtype = dtype_name(array.dtype)
    carrier: Any = _CARRIERS.get(dtype or "")
    # ascontiguousarray would give a scalar an axis
    stored = np.asarray(array, array.dtype.newbyteorder("<"), order="C")
    dataset = file.create_dataset(
        dataset_path(name), data=stored if carrier is None else stored.view(carrier)
    )
    if carrier is not None:
        dataset.attrs[DTYPE_ATTRIBUTE] = np.bytes_(dtype or "")


def _decode(h5py: Any, file: h5py.File, size: int, where: str) -> Document:
    if MANIFEST_DATASET not in file or DIGEST_ATTRIBUTE not in file.attrs:
        _fail("E-NOT-FOURIER-FORMAT", where, "an HDF5 file without a fourier_format manifest")
    manifest: str | None = None
    tensors: dict[str, Array] = {}
    left = size
    for path, dataset in _datasets(h5py, file, where, 0, set()):
        array = _read(h5py, dataset, left, f"{where}, {path}")
        left -= array.nbytes
        name = "/".join(unquote(piece) for piece in path.split("/"))
        if path == MANIFEST_DATASET:
            manifest = _manifest_text(array, where)
        elif dataset_path(name) == path:
            tensors[name] = array
        else:  # or two datasets could have one name
            _fail("E-HDF5-FEATURE", f"{where}, {path}", "a name that is escaped in another way")
    if manifest is None:
        _fail("E-NOT-FOURIER-FORMAT", where, "the manifest is not a dataset")
    document = Document(manifest, tensors)
    check_digest(document, _text(file.attrs, DIGEST_ATTRIBUTE, where), where)
    return document


def _manifest_text(array: Array, where: str) -> str:
    if array.dtype != np.uint8 or array.ndim != 1:
        _fail("E-CONTAINER-HEADER", where, "the manifest is not a list of bytes")
    try:
        return array.tobytes().decode("utf-8")
    except UnicodeDecodeError:
        _fail("E-JSON-SYNTAX", where, "the manifest is not UTF-8")


def _datasets(
    h5py: Any, group: h5py.Group, where: str, depth: int, seen: set[int]
) -> Iterator[tuple[str, Any]]:
    """Yields every dataset with its path; only one hard link to a plain object passes."""
    seen.add(h5py.h5o.get_info(group.id).addr)
    if depth == _MAX_DEPTH:
        _fail("E-HDF5-FEATURE", where, "groups are nested too deep")
    for name in group:
        place = f"{where}, {group.name.rstrip('/')}/{name}"
        if not isinstance(group.get(name, getlink=True), h5py.HardLink):
            _fail("E-HDF5-FEATURE", place, "a soft or external link")
        item = group[name]
        address = h5py.h5o.get_info(item.id).addr
        if address in seen:  # a small file could else stand for any number of arrays
            _fail("E-HDF5-FEATURE", place, "an object with several names")
        seen.add(address)
        if isinstance(item, h5py.Dataset):
            yield name, item
        elif isinstance(item, h5py.Group):
            for path, dataset in _datasets(h5py, item, where, depth + 1, seen):
                yield f"{name}/{path}", dataset
        else:
            _fail("E-HDF5-FEATURE", place, "neither a group nor a dataset")


def _read(h5py: Any, dataset: h5py.Dataset, size: int, where: str) -> Array:
    """Returns the data of a dataset that has nothing but plain, contiguous numbers."""
    properties = dataset.id.get_create_plist()
    if properties.get_external_count():
        _fail("E-HDF5-FEATURE", where, "data outside the file")
    if properties.get_nfilters() or properties.get_layout() != h5py.h5d.CONTIGUOUS:
        _fail("E-HDF5-FEATURE", where, "filtered, chunked, compact or virtual storage")
    dtype, shape = dataset.dtype, dataset.shape
    plain = dtype.kind in "iuf" and dtype.metadata is None and dtype in DTYPES.values()
    if not plain or not dataset.id.get_type().equal(h5py.h5t.py_create(dtype)):
        _fail("E-CONTAINER-DTYPE", where, "not a plain little-endian number", str(dtype))
    if shape is None:
        _fail("E-HDF5-FEATURE", where, "a null dataspace")
    if not limits.allow_shape(shape):
        _fail("E-LIMIT", where, "a dimension is zero or too large, or too many", str(shape)[:80])
    if math.prod(shape) * dtype.itemsize > size:
        _fail("E-CONTAINER-TRUNCATED", where, "larger than the file")
    return _tagged(dataset[()], dataset.attrs, where)


def _tagged(array: Any, attributes: Any, where: str) -> Array:
    """Returns the array under the dtype that its attribute names, if it has one."""
    if DTYPE_ATTRIBUTE not in attributes:
        return np.asarray(array)
    tag = _text(attributes, DTYPE_ATTRIBUTE, where)
    if _CARRIERS.get(tag) != array.dtype:
        _fail("E-CONTAINER-DTYPE", where, "a dtype attribute that does not fit", repr(tag))
    return np.asarray(array).view(BFLOAT16 if tag == "BF16" else np.bool_)


def _text(attributes: Any, name: str, where: str) -> str:
    """Returns a text attribute; its type is looked at first, for `bytes` of a number allocates."""
    dtype = attributes.get_id(name).dtype
    if dtype.kind != "S" or dtype.itemsize > _MAX_TEXT:
        _fail("E-HDF5-FEATURE", where, f"the attribute {name} is not a short fixed-length string")
    return bytes(attributes[name]).decode("ascii", "replace")


def _fail(code: str, where: str, problem: str, got: str | None = None) -> NoReturn:
    raise InvalidAdapterError(Violation(code, where, problem, got))
