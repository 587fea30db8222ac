"""Output that is whole or absent: written beside its place, synced, then renamed.

A file in the making is `.<name>.<random>.partial`, locked while its writer lives, so that the
next run can tell an orphan of a killed run from the work of one that is still going.
"""

from __future__ import annotations

import contextlib
import errno
import os
import re
import secrets
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType
from typing import IO, Final

from fourier_format.errors import FileAccessError, OutputExistsError, Violation, io_violation

fcntl: ModuleType | None
try:
    import fcntl
except ImportError:  # Windows has no flock; orphans then stay until someone removes them
    fcntl = None

_TRIES: Final = 8


def refuse_existing(path: Path, overwrite: bool) -> None:
    """Check early that `path` may be written.

    Raises:
        OutputExistsError: It exists and `overwrite` is false.
        FileAccessError: Its directory does not exist, or it is a device, a pipe or a socket.
    """
    if not path.name:
        raise FileAccessError(Violation("E-IO", str(path), "this names no file"))
    with os_errors(path, "write"):
        is_there = path.exists() or path.is_symlink()
        has_parent = path.parent.is_dir()
        is_plain = path.is_file() or path.is_dir() or not path.exists()
    if not has_parent:
        problem = "the directory of the output does not exist"
        raise FileAccessError(Violation("E-IO", str(path.parent), problem, advice="create it"))
    if is_there and not overwrite:
        raise _exists(path)
    if not is_plain:
        problem = "the output is a device, a pipe or a socket, which is never replaced"
        raise FileAccessError(Violation("E-IO", str(path), problem))


@contextlib.contextmanager
def staged(path: Path, overwrite: bool = False) -> Iterator[IO[bytes]]:
    """Yields a file opened for writing that becomes `path` when the block ends well.

    On any exception, Ctrl-C included, nothing is left behind and `path` is as it was.

    Raises:
        OutputExistsError: `path` exists and `overwrite` is false.
        FileAccessError: Writing failed; the message names the file.
    """
    refuse_existing(path, overwrite)
    if path.is_dir():
        raise FileAccessError(Violation("E-IO", str(path), "the output is a directory"))
    with os_errors(path, "write"):
        _remove_orphans(path)
        temporary, file = _create(path)
        try:
            with file:
                yield file
                file.flush()
                os.fsync(file.fileno())
                if fcntl is None:  # Windows renames no open file; elsewhere this holds the lock
                    file.close()
                _publish(temporary, path, overwrite)
        finally:
            temporary.unlink(missing_ok=True)
    sync_directory(path.parent)


@contextlib.contextmanager
def os_errors(path: Path, action: str) -> Iterator[None]:
    """Turns an OSError inside the block into a FileAccessError that names `path`."""
    try:
        yield
    except FileAccessError:
        raise
    except OSError as error:
        raise FileAccessError(io_violation(path, error, action)) from error


def write_bytes(path: Path, data: bytes, overwrite: bool = False) -> None:
    """Write `data` to `path`, whole or not at all; raises as `staged`."""
    with staged(path, overwrite) as file:
        file.write(data)


def lock(file: IO[bytes] | int) -> bool:
    """Returns whether this process now holds the lock of `file`; False if another does.

    Args:
        file: An open file, or the descriptor of a directory.
    """
    if fcntl is None:
        return False
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        return False
    return True


def share(file: IO[bytes] | int) -> None:
    """Wait for a lock that others may share; until `file` is closed, `lock` of it fails.

    Where the system has no locks, `lock` fails in any case.
    """
    if fcntl is not None:
        with contextlib.suppress(OSError):  # a file system without locks
            fcntl.flock(file, fcntl.LOCK_SH)


def lockable(directory: Path) -> int | None:
    """Returns a descriptor to lock a directory by; None where the system has no locks.

    Raises:
        OSError: The directory cannot be opened.
    """
    return None if fcntl is None else os.open(directory, os.O_RDONLY)


@contextlib.contextmanager
def exclusive(path: Path) -> Iterator[None]:
    """Holds a lock that belongs to `path` in the block: commits to one output come in turn.

    The lock is a file beside it, `.<name>.lock`, gone afterwards; one that a killed run leaves is
    nobody's, and the next run takes it over. Where the system has no locks the block runs all the
    same.
    """
    place = path.with_name(f".{path.name}.lock")
    file = _locked(place)
    try:
        yield
    finally:
        if file is not None:
            with file:
                place.unlink(missing_ok=True)


def _locked(place: Path) -> IO[bytes] | None:
    """Returns the file at `place`, made and locked; another run may remove it before it is."""
    if fcntl is None:
        return None
    flags = os.O_CREAT | os.O_RDWR | getattr(os, "O_NOFOLLOW", 0)
    while True:
        file = os.fdopen(os.open(place, flags, 0o600), "rb+")
        try:
            fcntl.flock(file.fileno(), fcntl.LOCK_EX)
        except OSError:  # a file system without locks
            place.unlink(missing_ok=True)
            file.close()
            return None
        with contextlib.suppress(FileNotFoundError):
            if os.path.samestat(os.fstat(file.fileno()), place.stat()):
                return file
        file.close()


def sync_directory(directory: Path) -> None:
    """Make renames in `directory` durable, where the system can."""
    with contextlib.suppress(OSError):
        descriptor = os.open(directory, os.O_RDONLY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)


def companion(path: Path, file: IO[bytes], suffix: str) -> Path:
    """Returns the place of a further file of the run that has `file` staged for `path`.

    What a killed run leaves of such files is removed with its partial file.
    """
    token = file.name.split(".")[-2]
    return path.with_name(f"{path.name}.{token}.{suffix}")


def _partial(path: Path) -> re.Pattern[str]:
    return re.compile(rf"\.{re.escape(path.name)}\.([0-9a-f]{{12}})\.partial")


def _remove_orphans(path: Path) -> None:
    """Remove what killed runs with this output left: files in the making, locked by nobody."""
    names = [other.name for other in path.parent.iterdir()]
    for match in filter(None, map(_partial(path).fullmatch, names)):
        partial = path.with_name(match.group())
        if partial.is_symlink() or not partial.is_file():
            continue
        with contextlib.suppress(OSError), partial.open("rb") as file:
            if not lock(file):
                continue
            if os.fstat(file.fileno()).st_nlink == 1:  # two where it was published under its name
                for name in names:
                    if name.startswith(f"{path.name}.{match.group(1)}."):
                        path.with_name(name).unlink(missing_ok=True)
            partial.unlink()


def _create(path: Path) -> tuple[Path, IO[bytes]]:
    """Returns a new partial file for `path` and its name, locked where there are locks.

    In the moment before it is locked another run may take it for an orphan: then another is made.
    """
    for tries_left in reversed(range(_TRIES)):
        temporary = path.with_name(f".{path.name}.{secrets.token_hex(6)}.partial")
        file = temporary.open("xb")
        if (lock(file) and os.fstat(file.fileno()).st_nlink) or not tries_left:
            break
        file.close()
        temporary.unlink(missing_ok=True)
    return temporary, file


def _publish(temporary: Path, path: Path, overwrite: bool) -> None:
    if overwrite:
        temporary.replace(path)
        return
    try:
        os.link(temporary, path)  # fails where the name is taken; rename would overwrite
    except FileExistsError:
        raise _exists(path) from None
    except OSError as error:
        if error.errno not in (errno.EPERM, errno.ENOTSUP, errno.EMLINK, errno.ENOSYS):
            raise
        refuse_existing(path, overwrite)  # a file system without hard links
        temporary.rename(path)


def _exists(path: Path) -> OutputExistsError:
    advice = "choose another name (-o), or overwrite it: --force, or overwrite=True in Python"
    return OutputExistsError(
        Violation("E-OUTPUT-EXISTS", str(path), "the output exists already", advice=advice)
    )
