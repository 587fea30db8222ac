"""External data: where a tensor's bytes lie, held to rules before anything is read.

The rules are those of ONNX Runtime, onnx and onnx-ir (onnx/docs/ExternalDataSecurity.md): a
relative location without "..", a regular file with one name, inside the model's directory once
links are followed. As in ONNX Runtime, links may also lead to where the model file itself really
lies: in a hub cache the model and its data are links into one folder of blobs.
"""

from __future__ import annotations

import math
import mmap
import os
import re
import stat
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, NoReturn

import numpy as np

from fourier_format.adapter import Array
from fourier_format.atomic import os_errors
from fourier_format.errors import UnsupportedError, Violation

EXTERNAL: Final = 1  # TensorProto.DataLocation.EXTERNAL
_FIELDS: Final = frozenset({"location", "offset", "length", "checksum", "basepath"})
_PREPACKED: Final = re.compile(r"prepacked_[0-9]{1,4}")
"""Where ONNX Runtime saved a weight as its kernels want it, which they compare with their own."""
_BITS: Final[dict[int, int]] = {
    **dict.fromkeys((2, 3, 9, 17, 18, 19, 20, 24), 8),
    **dict.fromkeys((4, 5, 10, 16), 16),
    **dict.fromkeys((1, 6, 12), 32),
    **dict.fromkeys((7, 11, 13, 14), 64),
    15: 128,
    **dict.fromkeys((21, 22, 23), 4),
    **dict.fromkeys((25, 26), 2),
}
"""TensorProto.DataType -> bits of one value."""
READ_ONLY: Final = (
    os.O_RDONLY
    | getattr(os, "O_NONBLOCK", 0)
    | getattr(os, "O_CLOEXEC", 0)
    | getattr(os, "O_BINARY", 0)
)
"""Flags of os.open; a pipe that nobody writes to is not waited for."""
_LONGEST: Final = 1024
"""Characters of a location; Linux has 255 bytes for a name."""
_COPY_ADVICE: Final = "copy the model and its data to one directory (for a hub cache: cp -RL)"


@dataclass(frozen=True, slots=True, order=True)
class External:
    """Where a tensor's bytes lie outside the model file."""

    location: str
    offset: int
    length: int

    @property
    def end(self) -> int:
        """The offset after the last byte."""
        return self.offset + self.length


def is_external(tensor: Any) -> bool:
    """Whether the tensor's bytes lie outside the model file."""
    return bool(tensor.data_location == EXTERNAL)


def byte_size(tensor: Any) -> int | None:
    """Returns how many bytes the tensor's values take, None for types that onnx added later."""
    bits = _BITS.get(tensor.data_type)
    count: int = math.prod(tensor.dims)
    return None if bits is None else -(-count * bits // 8)


class ExternalFiles:
    """The external data files of one model, each opened once and mapped.

    Attributes:
        directory: The folder that locations are relative to.
    """

    def __init__(self, model_path: Path) -> None:
        """Takes the .onnx file."""
        self.directory: Final = model_path.parent
        self._model: Final = model_path
        self._maps: dict[str, mmap.mmap | bytes] = {}

    def place(self, tensor: Any) -> External:
        """Returns where the tensor's bytes lie, its file opened and the place checked.

        Raises:
            UnsupportedError: The external data breaks a rule.
            FileAccessError: The file cannot be read.
        """
        location, offset, length = self._fields(tensor)
        if location not in self._maps:
            self._maps[location] = self._map(tensor.name, location)
        size = byte_size(tensor)
        available = self.size(location)
        if size is None:  # a type that is only carried over
            size = length or available - offset
        if length not in {0, size}:
            problem = f"its external length is {length}, its shape needs {size} bytes"
            self._fail(tensor.name, problem)
        if size < 0 or min(tensor.dims, default=0) < 0 or offset + size > available:
            problem = f"its external data lies outside the file {location}"
            self._fail(tensor.name, problem, "is the file whole?")
        return External(location, offset, size)

    def data(self, place: External) -> Array:
        """Returns the (length,) uint8 bytes at a checked place, as a view of the mapped file.

        What was read before of this file is let go of: sampling one weight can map 2 MB for each
        sample, since the kernel maps a page's neighbours too. Views of it stay valid.
        """
        self._release(self._maps[place.location])
        return np.frombuffer(self._maps[place.location], np.uint8, place.length, place.offset)

    def size(self, location: str) -> int:
        """Returns the size of a file in bytes."""
        return len(self._maps[location])

    def release(self) -> None:
        """Let go of the mapped pages, which would count as this process's memory."""
        for mapped in self._maps.values():
            self._release(mapped)

    @staticmethod
    def _release(mapped: mmap.mmap | bytes) -> None:
        if isinstance(mapped, mmap.mmap) and hasattr(mmap, "MADV_DONTNEED"):
            mapped.madvise(mmap.MADV_DONTNEED)

    def locations(self, tensors: Iterable[Any]) -> list[str]:
        """Returns where the bytes of `tensors` lie that lie outside, each once, sorted.

        Raises:
            UnsupportedError: The external data breaks a rule.
            FileAccessError: A file cannot be read.
        """
        return sorted({self.place(tensor).location for tensor in tensors if is_external(tensor)})

    def path(self, location: str, where: str = "") -> Path:
        """Returns the real file at `location`, all links followed.

        Raises:
            UnsupportedError: It lies outside the model's directory.
        """
        if len(location) > _LONGEST:
            self._fail(where, f"its external data has a location of {len(location)} characters")
        relative = Path(location)
        broken = not location or "\0" in location or "\\" in location
        if broken or relative.is_absolute() or ".." in relative.parts:
            self._fail(where, f"its external data leaves the model's directory: {location!r}")
        real = os.path.realpath(self.directory / relative)
        roots = (self.directory, Path(os.path.realpath(self._model)).parent)
        if not any(_is_inside(real, os.path.realpath(root)) for root in roots):
            problem = f"its external data {location!r} is a link that leaves the model's directory"
            self._fail(where, problem, _COPY_ADVICE)
        return Path(real)

    def refuse_overlaps(self, tensors: Iterable[Any]) -> None:
        """Check that no two tensors share a part of their bytes; sharing all of them is sound.

        Raises:
            UnsupportedError: Writing one of two such tensors would change the other.
        """
        placed = sorted((self.place(t), t.name) for t in tensors if is_external(t))
        last: tuple[External, str] | None = None
        for place, name in placed:
            if last is not None and _overlap(last[0], place):
                self._fail(name, f"its external data overlaps that of {last[1]}")
            if place.length:
                last = (place, name)

    def refuse_links(self) -> None:
        """Check that every file opened so far is itself in the directory, reached by no link.

        Raises:
            UnsupportedError: Models that refer to such a file are refused by onnx and onnx-ir.
        """
        for location in self._maps:
            path = self.directory / location
            if os.path.realpath(path) != str(Path(os.path.realpath(self.directory), location)):
                problem = f"the external data {location!r} is a symbolic link"
                advice = "merge with --external-data copy, or " + _COPY_ADVICE
                self._fail("", problem, advice)

    def _fields(self, tensor: Any) -> tuple[str, int, int]:
        names = [entry.key for entry in tensor.external_data]
        known = _FIELDS.union(filter(_PREPACKED.fullmatch, names))
        if len(set(names)) != len(names) or not known.issuperset(names):
            listed = ", ".join(repr(name[:60]) for name in names[:6])
            self._fail(tensor.name, f"its external data has unknown or repeated fields: {listed}")
        fields = {entry.key: entry.value for entry in tensor.external_data}
        if not fields.get("location"):
            self._fail(tensor.name, "its external data has no location")
        numbers = [fields.get(key, "0") or "0" for key in ("offset", "length")]
        if not all(n.isascii() and n.isdecimal() and len(n) < 20 for n in numbers):
            self._fail(tensor.name, "its external offset or length is not a number")
        return fields["location"], int(numbers[0]), int(numbers[1])

    def _map(self, where: str, location: str) -> mmap.mmap | bytes:
        path = self.path(location, where)
        with os_errors(self.directory / location, "read"):
            descriptor = os.open(path, READ_ONLY | getattr(os, "O_NOFOLLOW", 0))
            try:
                facts = os.fstat(descriptor)
                if not stat.S_ISREG(facts.st_mode):
                    self._fail(where, f"its external data {location!r} is not a regular file")
                if facts.st_nlink > 1:
                    problem = f"its external data {location!r} has a second name (a hard link)"
                    advice = "onnx and onnx-ir refuse such models; copy the file (cp) in its place"
                    self._fail(where, problem, advice)
                if not facts.st_size:
                    return b""
                return mmap.mmap(descriptor, 0, access=mmap.ACCESS_READ)
            finally:
                os.close(descriptor)

    def _fail(self, name: str, problem: str, advice: str | None = None) -> NoReturn:
        where = f"{self._model}, {name}" if name else str(self._model)
        raise UnsupportedError(Violation("E-BASE-UNSUPPORTED", where, problem, advice=advice))


def set_external(tensor: Any, place: External) -> None:
    """Point the tensor at bytes in an external file."""
    tensor.ClearField("raw_data")
    tensor.ClearField("external_data")
    tensor.data_location = EXTERNAL
    fields = {"location": place.location, "offset": place.offset, "length": place.length}
    for key, value in fields.items():
        entry = tensor.external_data.add()
        entry.key, entry.value = key, str(value)


def _overlap(first: External, second: External) -> bool:
    """Whether places in order share some bytes, and not all of them."""
    one_file = first.location == second.location and first != second
    return one_file and second.offset < first.end and second.length > 0


def _is_inside(path: str, root: str) -> bool:
    return os.path.commonpath([path, root]) == root
