"""What processes that run side by side make once, or one after the other."""

from __future__ import annotations

import fcntl
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
def once(path: Path) -> Iterator[bool]:
    """Gives whether `path` is still to be made; of two processes that need it, one makes it."""
    with locked(path.with_suffix(".lock")):
        yield not path.exists()
