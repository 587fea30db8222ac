"""Copies files and parts of them inside the kernel where it can: shared, or at least not read."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Callable
from pathlib import Path
from typing import IO, Final

from fourier_format.atomic import os_errors
from fourier_format.errors import FileAccessError, Violation

_CHUNK: Final = 2**24
"""Bytes at a time where the kernel refuses to copy."""

_PIECE: Final = 2**26
"""Bytes at a time that the kernel is asked to copy."""

Told = Callable[[int], None]
"""Told how many bytes have been copied."""


def copy_file(source: Path, target: IO[bytes], told: Told | None = None) -> None:
    """Append the bytes of the file at `source` to `target`.

    Args:
        source: The file.
        target: Where its bytes go.
        told: Called after each piece; what it raises ends the copying.

    Raises:
        FileAccessError: `source` cannot be read, or changed meanwhile.
        OSError: `target` cannot be written.
    """
    with os_errors(source, "read"):
        size = source.stat().st_size
    copy_range(source, 0, size, target, told)


def copy_range(
    source: Path, start: int, length: int, target: IO[bytes], told: Told | None = None
) -> None:
    """Append `length` bytes of the file at `source`, from `start` on, to `target`.

    Raises:
        FileAccessError: `source` cannot be read, or is shorter.
        OSError: `target` cannot be written.
    """
    with contextlib.ExitStack() as stack:
        with os_errors(source, "read"):
            file = stack.enter_context(source.open("rb", buffering=0))
            file.seek(start)
        before = target.seek(0, os.SEEK_END)
        left = length - _copied_by_kernel(file, target, length, told)
        target.seek(0, os.SEEK_END)
        while left > 0:
            with os_errors(source, "read"):
                data = file.read(min(left, _CHUNK))
            if not data:
                break
            target.write(data)
            left -= len(data)
            target.flush()  # who is told may write over these bytes
            if told is not None:
                told(length - left)
        if target.seek(0, os.SEEK_END) != before + length:
            problem = "the base's data changed or could not be read while it was copied"
            raise FileAccessError(Violation("E-IO", str(source), problem))


def _copied_by_kernel(source: IO[bytes], target: IO[bytes], length: int, told: Told | None) -> int:
    """Returns how many bytes were copied; some file systems refuse, or stop early."""
    copied = 0
    while copied < length:
        try:
            piece = min(length - copied, _PIECE)
            done = os.copy_file_range(source.fileno(), target.fileno(), piece)
        except (OSError, AttributeError):
            break
        if done == 0:
            break
        copied += done
        if told is not None:
            told(copied)
    return copied
