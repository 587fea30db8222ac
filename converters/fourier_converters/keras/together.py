"""Files that are read together appear together: all are new, or all are as they were.

What is replaced is `.<name>.replaced` until all new files have their names.
"""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import IO

from fourier_format.atomic import exclusive, os_errors, staged, sync_directory


@contextlib.contextmanager
def staged_together(paths: Sequence[Path], overwrite: bool = False) -> Iterator[list[IO[bytes]]]:
    """Yields a file opened for writing for each of `paths`; they become these when the block ends.

    On any exception, Ctrl-C included, nothing is left behind and what was there is there. The first
    is what a reader begins with: it goes first and comes last, so that a run that is killed in
    between leaves no model, and never one of old and new files.

    Args:
        paths: Files of one directory.
        overwrite: Whether they may exist.

    Raises:
        OutputExistsError: One of `paths` exists and `overwrite` is false.
        FileAccessError: Writing failed; the message names the file.
    """
    with (
        contextlib.ExitStack() as lock,
        _undone_on_failure() as places,
        contextlib.ExitStack() as stack,  # is left in the other order: the first comes last
    ):
        files = [stack.enter_context(staged(path, overwrite)) for path in paths]
        yield files
        for path, file in zip(paths, files, strict=True):
            with os_errors(path, "write"):  # what takes long comes before anything is moved
                file.flush()
                os.fsync(file.fileno())
        with os_errors(paths[0], "write"):
            lock.enter_context(exclusive(paths[0]))
        for path, file in zip(paths, files, strict=True):
            place = _Place(path, os.fstat(file.fileno()))
            with os_errors(path, "write"):
                place.replaced.unlink(missing_ok=True)  # a killed run's
                places.append(place)
                if overwrite:
                    place.clear()


@dataclass(frozen=True, slots=True)
class _Place:
    """A name that a new file is about to get.

    Attributes:
        path: The name.
        new: The new file, whatever it is called.
    """

    path: Path
    new: os.stat_result

    @property
    def replaced(self) -> Path:
        """What is at the place before, until all is done."""
        return self.path.with_name(f".{self.path.name}.replaced")

    def clear(self) -> None:
        """Put aside what is there."""
        if os.path.lexists(self.path):
            self.path.replace(self.replaced)
            sync_directory(self.path.parent)

    def restore(self) -> None:
        """Put back what was there; another's file, come meanwhile, stays."""
        if os.path.lexists(self.replaced):
            self.replaced.replace(self.path)
        elif os.path.lexists(self.path) and os.path.samestat(self.path.lstat(), self.new):
            self.path.unlink()


@contextlib.contextmanager
def _undone_on_failure() -> Iterator[list[_Place]]:
    """Yields a list of places; they are restored in the other order unless the block ends well."""
    places: list[_Place] = []
    try:
        yield places
    except BaseException:
        for place in reversed(places):
            with os_errors(place.path, "write"):
                place.restore()
        raise
    for place in places:
        with os_errors(place.path, "write"):
            place.replaced.unlink(missing_ok=True)
