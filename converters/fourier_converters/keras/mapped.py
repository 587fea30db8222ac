"""The bytes of one HDF5 file, mapped and not loaded: a file, or a member of a .keras archive."""

from __future__ import annotations

import io
import mmap
import os
from contextlib import ExitStack
from pathlib import Path
from typing import IO, Any, Final

from fourier_format.atomic import os_errors
from fourier_format.errors import FileAccessError, UnsupportedError, Violation

_CHUNK: Final = 2**24
"""Bytes that are copied at a time."""


class Mapped:
    """A part of a file.

    Attributes:
        where: What it is, for errors.
        view: Its bytes.
    """

    def __init__(
        self, file: IO[bytes], where: str, start: int = 0, size: int | None = None
    ) -> None:
        """Map `size` bytes of `file` from `start` on, to its end if no size is given.

        Raises:
            UnsupportedError: There are none.
        """
        self.where = where
        end = file.seek(0, os.SEEK_END)
        if end == 0:
            raise UnsupportedError(Violation("E-BASE-UNSUPPORTED", where, "the file is empty"))
        self._file = file
        self._start = start
        self._map = mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)
        self.view = memoryview(self._map)[start : end if size is None else start + size]

    def reader(self) -> Window:
        """Returns a file over the bytes, for h5py."""
        return Window(self.view)

    def release(self) -> None:
        """Give back the memory of what was looked at; it can be looked at again."""
        advice = getattr(mmap, "MADV_DONTNEED", None)
        if advice is not None:
            self._map.madvise(advice)

    def copy(self, start: int, stop: int, target: IO[bytes]) -> None:
        """Append the bytes from `start` to `stop`; read, for what is mapped stays in memory.

        Raises:
            FileAccessError: They cannot be read, or are not there any more.
            OSError: `target` cannot be written.
        """
        self._file.seek(self._start + start)
        while start < stop:
            with os_errors(Path(self.where), "read"):
                data = self._file.read(min(stop - start, _CHUNK))
            if not data:
                problem = "the base changed while it was copied"
                raise FileAccessError(Violation("E-IO", self.where, problem))
            target.write(data)
            start += len(data)


def map_file(path: Path, stack: ExitStack) -> Mapped:
    """Returns the bytes of the file at `path`, which `stack` closes.

    Raises:
        UnsupportedError: It is empty, or no regular file.
        FileAccessError: It cannot be read.
    """
    refuse_stream(path)
    with os_errors(path, "read"):
        return Mapped(stack.enter_context(path.open("rb")), str(path))


def refuse_stream(path: Path) -> None:
    """Check that `path` is a regular file: a pipe or device may have no end.

    Raises:
        UnsupportedError: E-BASE-UNSUPPORTED.
        FileAccessError: There is none.
    """
    with os_errors(path, "read"):
        path.stat()
    if not path.is_file():
        problem, advice = "it is no regular file, and cannot be read", "give the model's file"
        raise UnsupportedError(Violation("E-BASE-UNSUPPORTED", str(path), problem, advice=advice))


class Window(io.RawIOBase):
    """A read-only file over bytes that lie elsewhere."""

    def __init__(self, view: memoryview) -> None:
        """Takes the bytes."""
        super().__init__()
        self._view = view
        self._position = 0

    def readable(self) -> bool:
        """Always."""
        return True

    def seekable(self) -> bool:
        """Always."""
        return True

    def seek(self, offset: int, whence: int = 0) -> int:
        """Returns the new position."""
        self._position = max(0, offset + (0, self._position, len(self._view))[whence])
        return self._position

    def tell(self) -> int:
        """Returns the position."""
        return self._position

    def readinto(self, buffer: Any) -> int:
        """Returns how many bytes were copied into `buffer`."""
        data = self._view[self._position : self._position + len(buffer)]
        memoryview(buffer)[: len(data)] = data
        self._position += len(data)
        return len(data)
