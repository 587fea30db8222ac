"""One data file in the making, written by two threads: a copier, and who computes new values."""

from __future__ import annotations

import contextlib
import os
import threading
from concurrent.futures import Future
from pathlib import Path
from typing import Final

from fourier_converters.copying import copy_file

_ALIGNMENT: Final = 2**16  # what older ONNX Runtimes need to map a tensor, on any system

_SYNC_BYTES: Final = 2**26
"""Bytes after which the disk begins with what was written, while more is computed."""

_PATIENCE: Final = 0.1
"""Seconds between looks at a copy that may have ended without a word."""


class _StoppedError(Exception):
    """Nobody waits for the copy any more."""


class DataFile:
    """One data file in the making: what it begins with is copied while new values are computed.

    Attributes:
        name: Its name, which the model states.
    """

    def __init__(self, path: Path, stack: contextlib.ExitStack) -> None:
        """Create the file at `path`."""
        self.name: Final = path.name
        self._copying = stack.enter_context(path.open("xb"))  # its position is the copier's
        self._file = stack.enter_context(path.open("rb+", buffering=0))
        self._progress = threading.Condition()
        self._copied = 0
        self._wanted = True
        self._unsynced = 0

    def copy(self, source: Path) -> None:
        """Take the bytes of the file at `source`; may be called by another thread."""
        with contextlib.suppress(_StoppedError):
            copy_file(source, self._copying, self._told)
            self._copying.flush()

    def stop(self) -> None:
        """End the copying early: the file is given up."""
        self._wanted = False

    def wait(self, end: int, copying: Future[None] | None) -> None:
        """Wait until the bytes up to `end` are there.

        Raises:
            FileAccessError: Copying failed.
            OSError: Copying failed.
        """
        while copying is not None and self._copied < end and not copying.done():
            with self._progress:
                self._progress.wait(_PATIENCE)
        if copying is not None and copying.done():
            copying.result()

    def write_at(self, offset: int, data: bytes | memoryview) -> None:
        """Write `data` over what is at `offset`."""
        self._file.seek(offset)
        left = memoryview(data)
        while left:
            left = left[self._file.write(left) :]
        self._unsynced += len(data)

    def append(self, data: bytes | memoryview) -> int:
        """Write `data` at an aligned place at the end; returns its offset."""
        offset = -(-self._file.seek(0, os.SEEK_END) // _ALIGNMENT) * _ALIGNMENT
        self._file.truncate(offset)
        self.write_at(offset, data)
        return offset

    def sync(self) -> None:
        """Make what is written durable; may be called by another thread."""
        self._unsynced = 0
        os.fsync(self._file.fileno())

    @property
    def is_behind(self) -> bool:
        """Whether so much was written since the last sync that the disk should begin with it."""
        return self._unsynced >= _SYNC_BYTES

    @property
    def is_there(self) -> bool:
        """Whether the file still has its name."""
        return os.fstat(self._file.fileno()).st_nlink > 0

    def _told(self, copied: int) -> None:
        if not self._wanted:
            raise _StoppedError
        with self._progress:
            self._copied = copied
            self._progress.notify_all()
