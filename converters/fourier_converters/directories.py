"""A directory that is whole or absent: written beside its place, synced, then renamed.

One in the making is `.<name>.<token>.partial`, locked while its writer lives. One that is being
replaced is `.<name>.<token>.replaced` until the new one has its name; only then is it removed. What
a killed run leaves of either is put right by the next.
"""

from __future__ import annotations

import contextlib
import os
import re
import secrets
import shutil
import stat
from collections.abc import Collection, Iterable, Iterator, Mapping
from pathlib import Path
from typing import Final

from fourier_converters.copying import copy_file
from fourier_format.atomic import lock, lockable, os_errors, refuse_existing, sync_directory
from fourier_format.errors import FileAccessError, OutputExistsError, UnsupportedError, Violation

_TRIES: Final = 8


@contextlib.contextmanager
def staged_directory(path: Path, files: Collection[str], overwrite: bool = False) -> Iterator[Path]:
    """Yields a new directory that becomes `path` when the block ends well.

    On any exception, Ctrl-C included, nothing is left behind and `path` is as it was. Where it
    cannot get its name back, it waits beside it for the next run, which tries again.

    Args:
        path: The directory to make.
        files: What will be in it: paths relative to it, with "/".
        overwrite: Whether `path` may exist; it must then hold nothing but such files, for a
            directory with anything else in it is someone's, and never removed.

    Raises:
        OutputExistsError: `path` exists, and `overwrite` is false or it holds other files.
        FileAccessError: Writing failed.
    """
    with os_errors(path, "write"):
        if path.parent.is_dir():
            _put_right(path)
        refuse_existing(path, overwrite)
        _refuse_others(path, files)
        temporary, descriptor = _create(path)
        try:
            yield temporary
            _sync(temporary)
            refuse_existing(path, overwrite)  # it may have changed since
            _refuse_others(path, files)
            _publish(temporary, path)
        finally:
            _remove_replaced(temporary, path)
            _remove(temporary)
            _close(descriptor)
    sync_directory(path.parent)


def files_in(directory: Path) -> list[str]:
    """Returns the files below `directory`, relative and with "/"; links are files, never entered.

    An empty directory counts as one file, with a "/" at its end.
    """
    found = []
    for folder, folders, names in os.walk(directory):
        here = Path(folder)
        links = [name for name in folders if (here / name).is_symlink()]
        found += [(here / name).relative_to(directory).as_posix() for name in [*names, *links]]
        if not folders and not names and here != directory:
            found.append(f"{here.relative_to(directory).as_posix()}/")
    return sorted(found)


def files_to_copy(
    directory: Path, names: Iterable[str], weights: Iterable[Path]
) -> dict[str, Path | None]:
    """Returns where the files `names` of `directory` really lie; None for an empty folder.

    Links may lead to anything in the directory, and to where the weights really lie: in a hub cache
    all files are links into one folder of blobs.

    Args:
        directory: Someone's directory, perhaps a stranger's.
        names: Files in it, as `files_in` gives them.
        weights: The files that the user means to copy, whatever they are links to.

    Raises:
        UnsupportedError: One leads elsewhere, or is no regular file.
        FileAccessError: One cannot be read.
    """
    roots = [directory.resolve(), *(path.resolve().parent for path in weights)]
    return {name: _file_to_copy(directory / name, name, roots) for name in names}


def _file_to_copy(path: Path, name: str, roots: Iterable[Path]) -> Path | None:
    if name.endswith("/"):
        return None
    real = Path(os.path.realpath(path))
    if not any(real.is_relative_to(root) for root in roots):
        problem = "it is a link out of the base's directory, and what it leads to is not copied"
        advice = "put the file itself in the link's place, or remove the link"
        raise UnsupportedError(Violation("E-BASE-UNSUPPORTED", str(path), problem, advice=advice))
    with os_errors(path, "read"):
        is_regular = stat.S_ISREG(real.stat().st_mode)
    if not is_regular:
        problem = "it is no regular file, and cannot be copied"
        advice = "remove it, or give a copy of the directory without it"
        raise UnsupportedError(Violation("E-BASE-UNSUPPORTED", str(path), problem, advice=advice))
    return real


def copy_files(files: Mapping[str, Path | None], folder: Path) -> None:
    """Copy what `files_to_copy` returned into `folder`, under the same relative paths."""
    for name, source in files.items():
        target = folder / name
        if source is None:
            target.mkdir(parents=True, exist_ok=True)
            continue
        target.parent.mkdir(parents=True, exist_ok=True)
        with target.open("xb") as file:
            copy_file(source, file)


def _refuse_others(path: Path, files: Collection[str]) -> None:
    """Refuse to replace what is no older version of the directory."""
    if path.is_symlink() or (path.exists() and not path.is_dir()):
        problem = "the output is a directory, and something else has its name"
        raise FileAccessError(Violation("E-IO", str(path), problem))
    others = sorted(set(files_in(path)) - set(files)) if path.exists() else []
    if others:
        problem = "the output holds files that are not of this result, and are not removed"
        got = ", ".join(others[:3])
        advice = "choose another name with -o, or remove it yourself"
        raise OutputExistsError(
            Violation("E-OUTPUT-EXISTS", str(path), problem, got, advice=advice)
        )


def _publish(temporary: Path, path: Path) -> None:
    """Give the new directory its name; one that has it keeps another until then, to go back to."""
    old = _replaced(temporary)
    try:
        if path.exists():
            path.rename(old)
        temporary.rename(path)
    finally:
        if old.exists() and not path.exists():
            old.rename(path)
    _remove_replaced(temporary, path)


def _remove_replaced(temporary: Path, path: Path) -> None:
    """Remove the old directory, if something has its name; else it is all that there is.

    It takes the name of one in the making first, so that half of it is never taken for it.
    """
    old = _replaced(temporary)
    if old.is_dir() and path.exists():
        if temporary.exists():
            _remove(temporary)
        with contextlib.suppress(OSError):  # another run may be at it
            old.rename(temporary)
        _remove(temporary)


def _replaced(partial: Path) -> Path:
    """Returns where the old directory waits while the new one in `partial` takes its name."""
    return partial.with_suffix(".replaced")


def _remove(directory: Path) -> None:
    shutil.rmtree(directory, ignore_errors=True)


def _sync(directory: Path) -> None:
    """Make all of a directory durable."""
    for folder, _, names in os.walk(directory):
        for name in names:
            with (Path(folder) / name).open("rb+") as file:  # Windows syncs what is open to write
                os.fsync(file.fileno())
        sync_directory(Path(folder))


def _create(path: Path) -> tuple[Path, int | None]:
    """Returns a new directory beside `path` and the descriptor that holds its lock, if any.

    In the moment before it is locked another run may take it for an orphan: then another is made.
    """
    for tries_left in reversed(range(_TRIES)):
        temporary = path.with_name(f".{path.name}.{secrets.token_hex(6)}.partial")
        temporary.mkdir()
        try:
            descriptor = lockable(temporary)
        except FileNotFoundError:
            if tries_left:
                continue
            raise
        if descriptor is None or (lock(descriptor) and temporary.exists()) or not tries_left:
            break
        os.close(descriptor)
        _remove(temporary)
    return temporary, descriptor


def _put_right(path: Path) -> None:
    """Remove what killed runs with this output left, after what they replaced has its name back."""
    pattern = re.compile(rf"(\.{re.escape(path.name)}\.[0-9a-f]{{12}})\.(partial|replaced)")
    names = [other.name for other in path.parent.iterdir()]
    for stem in sorted({match.group(1) for match in map(pattern.fullmatch, names) if match}):
        partial = path.with_name(f"{stem}.partial")
        old = _replaced(partial)
        with _orphan(partial) as nobodys:
            if partial.name in names and not nobodys:
                continue
            if old.is_dir() and not path.exists():
                old.rename(path)
            _remove_replaced(partial, path)
            _remove(partial)


@contextlib.contextmanager
def _orphan(partial: Path) -> Iterator[bool]:
    """Yields whether nobody is writing this directory any more; nobody begins to in the block."""
    descriptor = None
    if not partial.is_symlink() and partial.is_dir():
        with contextlib.suppress(OSError):
            descriptor = lockable(partial)
    try:
        yield descriptor is not None and lock(descriptor)
    finally:
        _close(descriptor)


def _close(descriptor: int | None) -> None:
    if descriptor is not None:
        os.close(descriptor)
