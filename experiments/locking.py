"""Files that processes make whole or not at all; side by side, once, or one after the other."""

from __future__ import annotations

import fcntl
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path


@contextmanager
def locked(path: Path) -> Iterator[None]:
    """Waits until no other process holds the lock `path`; it goes with the process that has it."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("w") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield


@contextmanager
def locked_now(path: Path) -> Iterator[None]:
    """As `locked`, without waiting.

    Raises:
        BlockingIOError: Another process holds the lock.
    """
    with path.open("w") as file:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        yield


def lock_of(path: Path) -> Path:
    """Returns the lock of what several processes make or change."""
    return path.with_name(f"{path.name}.lock")


@contextmanager
def whole(path: Path) -> Iterator[Path]:
    """Gives where to write a file that then becomes `path`: it is there whole or not at all."""
    partial = path.with_name(f"{path.name}.partial")
    yield partial
    partial.replace(path)


@contextmanager
def once(path: Path) -> Iterator[bool]:
    """Gives whether `path` is still to be made; of two processes that need it, one makes it."""
    with locked(lock_of(path)):
        yield not path.exists()


@contextmanager
def folder_once(path: Path) -> Iterator[Path | None]:
    """Gives an empty folder that then becomes `path`, or None where that is there: as `once`."""
    with once(path) as missing:
        if not missing:
            yield None
            return
        partial = path.with_name(f"{path.name}.partial")
        shutil.rmtree(partial, ignore_errors=True)
        partial.mkdir()
        yield partial
        partial.rename(path)
