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
        self.where = os.fspath(where).rstrip("/")
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
        place = self.place(name)
        if self._remote is not None:
            data = self._remote.read(place)
            return None if data is None else (fourier_format.from_bytes(data, place), place)
        path = Path(place)
        return (fourier_format.load(path), place) if path.is_file() else None

    def place(self, name: str) -> str:
        """Returns the path or URL of an adapter, whether it is there or not."""
        return f"{self.where}/{quote(name) if self._is_http() else name}{SUFFIX}"

    def names(self) -> list[str]:
        """Returns the names that lie here, sorted; none of a source that cannot be listed."""
        if self._remote is not None:
            found: Iterable[str] = self._remote.listed(self.where)
        else:
            with os_errors(Path(self.where), "list"):
                found = [path.name for path in Path(self.where).iterdir()]
        return sorted(name.removesuffix(SUFFIX) for name in found if name.endswith(SUFFIX))

    def _is_http(self) -> bool:
        return self.where.startswith(("http://", "https://"))


class _Remote:
    """A file system of fsspec."""

    def __init__(self, url: str) -> None:
        self._system: Any = _file_system(url)

    def read(self, url: str) -> bytes | None:
        try:
            return bytes(self._system.cat_file(self._system._strip_protocol(url)))  # noqa: SLF001
        except (FileNotFoundError, KeyError):
            return None
        except Exception as error:
            raise _unreachable(url, error) from error

    def listed(self, url: str) -> list[str]:
        try:
            paths = self._system.ls(self._system._strip_protocol(url), detail=False)  # noqa: SLF001
        except Exception:  # noqa: BLE001 -- a listing only helps an error along
            return []
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
    data = _Remote(place).read(place)
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


def _file_system(url: str) -> Any:
    try:
        from fsspec.core import url_to_fs
    except ImportError:
        raise dependency_missing("fsspec", "remote", "a source that is a URL") from None
    try:
        system, _ = url_to_fs(url)
    except FourierFormatError:
        raise
    except Exception as error:
        raise _unreachable(url, error) from error
    return system


def _unreachable(url: str, error: Exception) -> FourierFormatError:
    reason = f"{type(error).__name__}: {error}"
    if isinstance(error, ValueError) and "rotocol" in str(error):
        return UsageError(Violation("E-USAGE", url, "fsspec does not know this URL", reason))
    return FileAccessError(Violation("E-IO", url, "cannot be reached", reason))
