"""Where adapters lie: a directory, or any URL that fsspec opens; one file, `<name>.fft`, each."""

from __future__ import annotations

import difflib
import os
import re
from collections.abc import Iterable
from pathlib import Path, PurePath, PurePosixPath
from typing import Any, Final
from urllib.parse import quote, unquote

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
_STRANGE_IN_URLS: Final = ("\\", "://", "::")
"""What would make another URL of one that a name is put into."""
_STRANGE_IN_PATHS: Final = ("\\", ":") if os.name == "nt" else ()
_WEB: Final = ("http://", "https://")
_QUERY: Final = re.compile(r"[?#].*", re.DOTALL)
_QUERIES: Final = re.compile(r"[?#]\S+")
_PASSWORDS: Final = re.compile(r"://[^\s@]*:\S*@")
"""User and password, up to the last @: one that is not quoted may hold all that divides a URL."""
_LINK: Final = re.compile(r"::(?=/|[a-z][a-z0-9+.-]*(?:://|::|$))", re.IGNORECASE)
"""Where a link of a chain begins, and no password goes on."""


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
        if not self._is_sound(name):
            return None
        place = self.place(name)
        if self._remote is not None:
            data = self._remote.read(self._file(name))
            if data is None:
                return None
            return fourier_format.from_bytes(data, redacted(place)), place
        path = Path(place)
        return (fourier_format.load(path), place) if path.is_file() else None

    def place(self, name: str) -> str:
        """Returns the path or URL of an adapter, whether it is there or not."""
        file = self._file(name)
        return f"{self.where}/{file}" if self._remote is None else _joined(self.where, file)

    def _file(self, name: str) -> str:
        return f"{quote(name) if _is_http(self.where) else name}{SUFFIX}"

    def names(self) -> list[str]:
        """Returns the names that lie here, sorted; what `fetch` takes for no name is left out.

        Raises:
            FileAccessError: The source cannot be listed.
        """
        if self._remote is not None:
            found: Iterable[str] = self._remote.listed()
            if _is_http(self.where):
                found = map(unquote, found)
        else:
            with os_errors(Path(self.where), "list"):
                found = [path.name for path in Path(self.where).iterdir()]
        names = [file.removesuffix(SUFFIX) for file in found if file.endswith(SUFFIX)]
        return sorted(filter(self._is_sound, names))

    def _is_sound(self, name: str) -> bool:
        """Whether a name cannot lead out of the source."""
        path = PurePosixPath(name)
        banned = _STRANGE_IN_PATHS if self._remote is None else _STRANGE_IN_URLS
        strange = not name.isprintable() or any(part in name for part in banned)
        return bool(name) and not strange and not path.is_absolute() and ".." not in path.parts


class _Remote:
    """A file or directory of one of fsspec's file systems."""

    def __init__(self, url: str) -> None:
        self._url = url
        self._system, self._path = _file_system(url)

    def read(self, name: str = "") -> bytes | None:
        """Returns the bytes of a file in the directory, of the file itself without a name."""
        path = _within(self._path, name) if name else self._path
        try:
            return bytes(self._system.cat_file(path))
        except (FileNotFoundError, KeyError):
            return None
        except Exception as error:  # noqa: BLE001 - of any library, told as our own
            raise _unreachable(self._url, error) from _cause(self._url, error)

    def listed(self) -> list[str]:
        """Returns the names of the files in the directory."""
        try:
            paths = self._system.ls(self._path, detail=False)
        except Exception as error:  # noqa: BLE001 - of any library, told as our own
            raise _unreachable(self._url, error) from _cause(self._url, error)
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
        raise FileAccessError(Violation("E-IO", redacted(place), "there is no such file"))
    return fourier_format.from_bytes(data, redacted(place))


def is_url(place: str) -> bool:
    """Whether `place` is a URL, or a chain of them."""
    return "://" in place or "::" in place


def redacted(url: str) -> str:
    """Returns a URL for messages, which get into logs: without passwords, queries and fragments."""
    return "::".join(map(_without_secrets, _LINK.split(url)))


def stem(path: str | os.PathLike[str]) -> str:
    """Returns the name of an adapter by its file: "legal" of "adapters/legal.fft".

    Of a URL the query is no part of it, which may hold a signature.
    """
    name = _file_name(path)
    for suffix in (".fft.h5", ".fft.hdf5", SUFFIX, ".h5", ".hdf5"):
        if name.endswith(suffix) and name != suffix:
            return name.removesuffix(suffix)
    return name


def near(name: str, names: Iterable[str]) -> list[str]:
    """Returns up to three of `names` that are spelt much like `name`."""
    return difflib.get_close_matches(name, list(dict.fromkeys(names)), _NEAR)


def _file_name(path: str | os.PathLike[str]) -> str:
    place = os.fspath(path)
    if not is_url(place):
        return (path if isinstance(path, PurePath) else Path(place)).name
    links, which = _links(place)
    name = PurePosixPath(_QUERY.sub("", links[which])).name
    return unquote(name) if _is_http(place) else name


def _links(url: str) -> tuple[list[str], int]:
    """Returns the links of a chain, and which of them has the files: the first with a place."""
    links = url.split("::")
    return links, next((i for i, link in enumerate(links) if "://" in link), 0)


def _without_secrets(link: str) -> str:
    return _QUERY.sub("", _PASSWORDS.sub("://...@", link)) if "://" in link else link


def _is_http(url: str) -> bool:
    """Whether it is a web server that has the files, whose names are quoted then."""
    links, which = _links(url)
    return links[which].startswith(_WEB)


def _joined(url: str, file: str) -> str:
    """Returns the URL of a file in a directory."""
    links, which = _links(url)
    links[which] = _within(links[which], file)
    return "::".join(links)


def _within(place: str, file: str) -> str:
    """Returns the place of a file in a directory; on a web server a query stays at the end."""
    query = _QUERY.search(place) if place.startswith(_WEB) else None
    folder, rest = (place[: query.start()], query.group()) if query else (place, "")
    if folder and not folder.endswith("://"):
        folder = f"{folder.rstrip('/')}/"
    return f"{folder}{file}{rest}"


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
    except Exception as error:  # noqa: BLE001 - of any library, told as our own
        raise _unreachable(url, error) from _cause(url, error)
    return system, path


def _unreachable(url: str, error: Exception) -> FourierFormatError:
    """Returns the error, with the reason in its message."""
    reason = f"{type(error).__name__}: {error}"
    for link in _LINK.split(url):
        reason = reason.replace(link, _without_secrets(link))
    # of the same URL as a library has spelt it
    reason = _QUERIES.sub("...", _PASSWORDS.sub("://...@", reason))
    if isinstance(error, ValueError) and "rotocol" in str(error):
        return UsageError(
            Violation("E-USAGE", redacted(url), "fsspec does not know this URL", reason)
        )
    return FileAccessError(Violation("E-IO", redacted(url), "cannot be reached", reason))


def _cause(url: str, error: Exception) -> Exception | None:
    """Returns what a traceback may tell: a library's own error may hold the URL's secrets."""
    return error if redacted(url) == url else None
