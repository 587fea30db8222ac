"""Where adapters lie: a directory, or any URL that fsspec opens; one file, `<name>.fft`, each."""

from __future__ import annotations

import difflib
import os
from collections.abc import Iterable
from pathlib import Path, PurePosixPath
from typing import Any, Final
from urllib.parse import quote

import fourier_format
from fourier_format.adapter import Adapter
from fourier_format.atomic import os_errors
from fourier_format.errors import (
    FileAccessError,
    FourierFormatError,
    UsageError,
    Violation,
    dependency_missing,
)

SUFFIX: Final = ".fft"
_NEAR: Final = 3


class Source:
    """A place that adapters are fetched from by name.

    Attributes:
        where: The directory or URL.
    """

    def __init__(self, where: str | os.PathLike[str]) -> None:
        """Takes a directory or a URL.

        Raises:
            FileAccessError: The directory is not there, or fsspec does not open the URL.
            DependencyMissingError: It is a URL and fsspec is not installed.
        """
        place = os.fspath(where)
        self.where = place if place.endswith("://") else place.rstrip("/")
        self._remote = _Remote(self.where) if is_url(self.where) else None
        if self._remote is None and not Path(self.where).is_dir():
            problem = "the source of adapters is not a directory"
            raise FileAccessError(Violation("E-IO", self.where, problem))

    def fetch(self, name: str) -> tuple[Adapter, str] | None:
        """Returns the adapter of `name` and its path or URL, None where the source has none.

        Raises:
            InvalidAdapterError: Its file breaks the format.
            FileAccessError: It is there and cannot be read, or the source cannot be reached.
        """
        if not _is_sound(name):
            return None
<<<<<<< HEAD
        place = self.place(name)
=======
>>>>>>> main
        if self._remote is not None:
            file = f"{quote(name) if self._is_http() else name}{SUFFIX}"
            data, place = self._remote.read(file), _joined(self.where, file)
            return None if data is None else (fourier_format.from_bytes(data, place), place)
        place = f"{self.where}/{name}{SUFFIX}"
        path = Path(place)
        return (fourier_format.load(path), place) if path.is_file() else None

    def place(self, name: str) -> str:
        """Returns the path or URL of an adapter, whether it is there or not."""
        return f"{self.where}/{quote(name) if self._is_http() else name}{SUFFIX}"

    def names(self) -> list[str]:
        """Returns the names that lie here, sorted.

        Raises:
            FileAccessError: The source cannot be listed.
        """
        if self._remote is not None:
            found: Iterable[str] = self._remote.listed()
        else:
            with os_errors(Path(self.where), "list"):
                found = [path.name for path in Path(self.where).iterdir()]
        return sorted(name.removesuffix(SUFFIX) for name in found if name.endswith(SUFFIX))

    def _is_http(self) -> bool:
        return self.where.startswith(("http://", "https://"))


class _Remote:
    """A file or directory of one of fsspec's file systems."""

    def __init__(self, url: str) -> None:
        self._url = url
        self._system, self._path = _file_system(url)

    def read(self, name: str = "") -> bytes | None:
        """Returns the bytes of a file in the directory, of the file itself without a name."""
        folder = self._path.rstrip("/")
        path = f"{folder}/{name}" if name and self._path else name or self._path
        try:
            return bytes(self._system.cat_file(path))
        except (FileNotFoundError, KeyError):
            return None
        except Exception as error:
            raise _unreachable(self._url, error) from error

    def listed(self) -> list[str]:
        """Returns the names of the files in the directory."""
        try:
            paths = self._system.ls(self._path, detail=False)
        except Exception as error:
            raise _unreachable(self._url, error) from error
        return [PurePosixPath(path).name for path in paths]


def loaded(path: str | os.PathLike[str]) -> Adapter:
    """Returns the adapter at a path or URL.

    Raises:
        InvalidAdapterError: The file breaks the format.
        FileAccessError: It cannot be read.
        DependencyMissingError: It is a URL and fsspec is not installed, or HDF5 and h5py is not.
    """
    place = os.fspath(path)
    if not is_url(place):
        return fourier_format.load(place)
    data = _Remote(place).read()
    if data is None:
        raise FileAccessError(Violation("E-IO", place, "there is no such file"))
    return fourier_format.from_bytes(data, place)


def is_url(place: str) -> bool:
    """Whether `place` is a URL, or a chain of them."""
    return "://" in place or "::" in place


def stem(path: str | os.PathLike[str]) -> str:
    """Returns the name of an adapter by its file: "legal" of "adapters/legal.fft"."""
    name = PurePosixPath(os.fspath(path)).name
    for suffix in (".fft.h5", ".fft.hdf5", SUFFIX, ".h5", ".hdf5"):
        if name.endswith(suffix) and name != suffix:
            return name.removesuffix(suffix)
    return name


def near(name: str, names: Iterable[str]) -> list[str]:
    """Returns up to three of `names` that are spelt much like `name`."""
    return difflib.get_close_matches(name, list(dict.fromkeys(names)), _NEAR)


def _is_sound(name: str) -> bool:
    """Whether a name cannot lead out of its source."""
    path = PurePosixPath(name)
    strange = not name.isprintable() or any(c in name for c in "\\:")
    return bool(name) and not strange and not path.is_absolute() and ".." not in path.parts


def _joined(url: str, file: str) -> str:
    """Returns the URL of a file in a directory; of a chain, the first link with a place has it."""
    links = url.split("::")
    first = next((i for i, link in enumerate(links) if "://" in link), 0)
    folder = links[first] if links[first].endswith("://") else f"{links[first].rstrip('/')}/"
    links[first] = folder + file
    return "::".join(links)


def _file_system(url: str) -> tuple[Any, str]:
    """Returns the file system of a URL, or of a chain of them, and the path there."""
    try:
        from fsspec.core import url_to_fs
    except ImportError:
        raise dependency_missing("fsspec", "remote", "a source that is a URL") from None
    try:
        system, path = url_to_fs(url)
    except FourierFormatError:
        raise
    except Exception as error:
        raise _unreachable(url, error) from error
    return system, path


def _unreachable(url: str, error: Exception) -> FourierFormatError:
    reason = f"{type(error).__name__}: {error}"
    if isinstance(error, ValueError) and "rotocol" in str(error):
        return UsageError(Violation("E-USAGE", url, "fsspec does not know this URL", reason))
    return FileAccessError(Violation("E-IO", url, "cannot be reached", reason))
