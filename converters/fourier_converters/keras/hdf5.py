"""What lies where in an HDF5 file of Keras: h5py reads the structure, values are mapped.

libhdf5 is not safe on hostile files, so every feature that Keras does not write is refused before
data is looked at; SECURITY.md says what remains.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import pairwise
from typing import Any, Final, NoReturn

import numpy as np

from fourier_converters.keras.mapped import Mapped
from fourier_format import limits
from fourier_format.adapter import Array
from fourier_format.dtypes import BFLOAT16, DTYPES, dtype_name
from fourier_format.errors import UnsupportedError, Violation, dependency_missing

_MAGIC: Final = b"\x89HDF\r\n\x1a\n"
_MAX_DEPTH: Final = 64
_MAX_CONFIG: Final = 2**26
"""Bytes of a model's config."""

_ERRORS: Final = (OSError, RuntimeError, KeyError, ValueError, TypeError, MemoryError)
"""What h5py raises on files that are broken."""


@dataclass(frozen=True, slots=True, eq=False)
class Dataset:
    """An array in a file.

    Attributes:
        path: Its path in the file, without a first "/".
        dtype: The name of its dtype: the format's, or NumPy's where the format has none.
        shape: Its shape.
        offset: Of its first byte in the file; None where it is not stored in one piece.
        file: The file's bytes.
    """

    path: str
    dtype: str
    shape: tuple[int, ...]
    offset: int | None
    file: Mapped

    @property
    def size(self) -> int:
        """Its bytes; those of a dtype that is not known count as one a value."""
        width = DTYPES[self.dtype].itemsize if self.dtype in DTYPES else 1
        return math.prod(self.shape) * width

    def array(self) -> Array:
        """Returns its values as a read-only view of the file.

        Raises:
            UnsupportedError: They are not stored in one piece, or of an unknown dtype.
        """
        if self.offset is None or self.dtype not in DTYPES:
            problem = f"{self.path!r} is chunked, compressed or of an unknown dtype"
            advice = "load the model in Keras and save it again"
            raise UnsupportedError(
                Violation("E-BASE-UNSUPPORTED", self.file.where, problem, self.dtype, advice=advice)
            )
        flat = np.frombuffer(self.file.view, np.uint8, self.size, self.offset)
        return flat.view(DTYPES[self.dtype]).reshape(self.shape)


@dataclass(frozen=True, slots=True)
class Structure:
    """What an HDF5 file holds.

    Attributes:
        datasets: Its arrays, in the order of its groups.
        names: The `name` that Keras gave a group of variables, by the group's path.
        root_attributes: The names of its root's attributes.
        config: The text of the attribute `model_config`, which old files have.
    """

    datasets: tuple[Dataset, ...]
    names: dict[str, str]
    root_attributes: frozenset[str]
    config: str | None


def read_structure(file: Mapped) -> Structure:
    """Returns what an HDF5 file holds; no values are read.

    Raises:
        UnsupportedError: It is no HDF5 file, broken, or uses what Keras does not.
        DependencyMissingError: h5py is not installed.
    """
    try:
        import h5py
    except ImportError:
        raise dependency_missing("h5py", "h5", "merging into a Keras file") from None
    if bytes(file.view[: len(_MAGIC)]) != _MAGIC:
        _fail(file.where, "not an HDF5 file, in which Keras keeps weights")
    try:
        with h5py.File(file.reader(), "r") as opened:
            walk = _Walk(h5py, file)
            datasets = tuple(walk.datasets(opened, "", 0))
            names = frozenset(opened.attrs)
            config = _text(h5py, opened, "model_config", _MAX_CONFIG)
    except UnsupportedError:
        raise
    except _ERRORS as error:
        _fail(file.where, f"HDF5 cannot read it: {error}")
    _refuse_overlap(datasets, file)
    return Structure(datasets, walk.names, names, config)


class _Walk:
    """A walk through all groups, in which no object is met twice."""

    def __init__(self, h5py: Any, file: Mapped) -> None:
        self._h5py = h5py
        self._file = file
        self._seen = set[int]()
        self.names: dict[str, str] = {}

    def datasets(self, group: Any, path: str, depth: int) -> Iterator[Dataset]:
        h5py, where = self._h5py, f"{self._file.where}, {path}"
        self._seen.add(h5py.h5o.get_info(group.id).addr)
        if depth == _MAX_DEPTH:
            _fail(where, "groups are nested too deep")
        name = _text(h5py, group, "name", limits.MAX_NAME_LENGTH)
        if name is not None:
            self.names[path] = name
        for key in group:
            place = f"{path}/{key}".removeprefix("/")
            if not isinstance(group.get(key, getlink=True), h5py.HardLink):
                _fail(f"{self._file.where}, {place}", "a soft or external link")
            item = group[key]
            address = h5py.h5o.get_info(item.id).addr
            if address in self._seen:  # what is written for one name would change another
                _fail(f"{self._file.where}, {place}", "an object with several names")
            self._seen.add(address)
            if isinstance(item, h5py.Dataset):
                yield self._dataset(item, place)
            elif isinstance(item, h5py.Group):
                yield from self.datasets(item, place, depth + 1)
            else:
                _fail(f"{self._file.where}, {place}", "neither a group nor a dataset")

    def _dataset(self, item: Any, path: str) -> Dataset:
        h5d, where = self._h5py.h5d, f"{self._file.where}, {path}"
        properties = item.id.get_create_plist()
        layout = properties.get_layout()
        if properties.get_external_count() or layout == h5d.VIRTUAL:
            _fail(where, "data outside the file")
        dtype = _dtype(item, self._h5py)
        shape = item.shape or ()
        in_one_piece = layout == h5d.CONTIGUOUS and not properties.get_nfilters()
        offset = item.id.get_offset() if in_one_piece and item.shape is not None else None
        found = Dataset(path, dtype, shape, offset, self._file)
        if offset is not None and offset + found.size > len(self._file.view):
            _fail(where, "larger than the file")
        return found


def _dtype(item: Any, h5py: Any) -> str:
    """Returns the name of a dataset's dtype; Keras stores bfloat16 as two bytes with a note."""
    dtype = item.dtype
    if dtype == np.dtype("V2") and _text(h5py, item, "dtype", 16) == "bfloat16":
        return str(dtype_name(BFLOAT16))
    is_plain = dtype.kind in "iuf" and dtype.metadata is None and dtype in DTYPES.values()
    return str(dtype_name(dtype)) if is_plain else str(dtype)


def _text(h5py: Any, item: Any, key: str, limit: int) -> str | None:
    """Returns a text attribute; None without one, or for one of another type or too long."""
    if key not in item.attrs:
        return None
    attribute = item.attrs.get_id(key)
    info = h5py.check_string_dtype(attribute.dtype)
    if attribute.shape != () or (info is None and attribute.dtype.kind != "S"):
        return None
    if attribute.dtype.kind == "S" and attribute.dtype.itemsize > limit:
        return None
    value = item.attrs[key]
    text = value.decode("utf-8", "replace") if isinstance(value, bytes) else str(value)
    return text if len(text) <= limit else None


def _refuse_overlap(datasets: tuple[Dataset, ...], file: Mapped) -> None:
    """What is written over one dataset must not change another."""
    stored = sorted((d.offset, d.offset + d.size, d.path) for d in datasets if d.offset is not None)
    for (_, stop, before), (start, end, path) in pairwise(stored):
        if start < stop and start < end:
            _fail(file.where, f"{before!r} and {path!r} overlap")


def _fail(where: str, problem: str) -> NoReturn:
    raise UnsupportedError(Violation("E-BASE-UNSUPPORTED", where, problem))
