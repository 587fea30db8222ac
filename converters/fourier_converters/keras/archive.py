"""A .keras archive: a zip of config.json, metadata.json, model.weights.h5 and perhaps assets."""

from __future__ import annotations

import shutil
import tempfile
import zipfile
import zlib
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Final, NoReturn

from fourier_converters.keras.mapped import Mapped
from fourier_format.atomic import os_errors
from fourier_format.errors import UnsupportedError, Violation

WEIGHTS: Final = "model.weights.h5"
CONFIG: Final = "config.json"
_MAX_CONFIG: Final = 2**28
_BOMB_FLOOR: Final = 2**28
_BOMB_FACTOR: Final = 100
"""A member above the floor that expands more than this is no model; Keras draws the same line."""

_CHUNK: Final = 2**20
_LOCAL_HEADER: Final = 30
_ENCRYPTED: Final = 1


@dataclass(frozen=True, slots=True, eq=False)
class Archive:
    """An opened archive.

    Attributes:
        path: The file.
        zip: The same as a zip.
        config: The text of config.json.
        weights: The weights' bytes.
    """

    path: Path
    zip: zipfile.ZipFile
    config: bytes
    weights: Mapped

    def write(self, target: IO[bytes], write_weights: Callable[[IO[bytes]], None]) -> None:
        """Write an archive of the same members in the same order, the weights by `write_weights`.

        Raises:
            UnsupportedError: A member of the base is broken.
            OSError: Writing failed.
        """
        with zipfile.ZipFile(target, "w") as result:
            result.comment = self.zip.comment
            for member in self.zip.infolist():
                with result.open(_alike(member), "w") as part:
                    if member.filename == WEIGHTS:
                        write_weights(part)
                    else:
                        self._copy(member, part)

    def _copy(self, member: zipfile.ZipInfo, part: IO[bytes]) -> None:
        with _broken(self.path):
            source = self.zip.open(member)
        with source:
            while True:
                with _broken(self.path):
                    data = source.read(_CHUNK)
                if not data:
                    break
                part.write(data)


def open_archive(path: Path, stack: ExitStack) -> Archive:
    """Returns the archive at `path`; what it holds is checked before it is read.

    Args:
        path: The file.
        stack: Closes what is opened.

    Raises:
        UnsupportedError: It is no .keras archive, broken, or made to harm.
        FileAccessError: It cannot be read.
    """
    with os_errors(path, "read"):
        file = stack.enter_context(path.open("rb"))
    with _broken(path):
        opened = stack.enter_context(zipfile.ZipFile(file))
    names = [member.filename for member in opened.infolist()]
    if len(set(names)) < len(names):
        _fail(path, "two members of the archive have one name")
    for member in opened.infolist():
        _check(path, member)
    for needed in (CONFIG, WEIGHTS):
        if needed not in names:
            _fail(path, f"the archive has no {needed}", "is it a model saved by Keras 3?")
    if opened.getinfo(CONFIG).file_size > _MAX_CONFIG:
        _fail(path, f"{CONFIG} is too large")
    with _broken(path):
        config = opened.read(CONFIG)
        weights = _weights(path, opened, stack)
    return Archive(path, opened, config, weights)


def _check(path: Path, member: zipfile.ZipInfo) -> None:
    name = member.filename
    parts = name.replace("\\", "/").split("/")
    if name.startswith(("/", "\\")) or ".." in parts or ":" in parts[0]:
        _fail(path, f"the member {name!r} lies outside the archive")
    if member.flag_bits & _ENCRYPTED:
        _fail(path, f"the member {name!r} is encrypted")
    if member.compress_type not in {zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED}:
        _fail(path, f"the member {name!r} is compressed in a way that Keras does not use")
    if member.file_size > max(_BOMB_FLOOR, _BOMB_FACTOR * member.compress_size):
        _fail(path, f"the member {name!r} expands to {member.file_size} bytes")


def _weights(path: Path, opened: zipfile.ZipFile, stack: ExitStack) -> Mapped:
    """Returns the weights where they lie; compressed ones from a temporary file."""
    member = opened.getinfo(WEIGHTS)
    where = f"{path}, {WEIGHTS}"
    if member.compress_type != zipfile.ZIP_STORED:
        unpacked = stack.enter_context(tempfile.TemporaryFile())  # noqa: SIM115 -- the stack is
        with opened.open(member) as source:
            shutil.copyfileobj(source, unpacked, _CHUNK)
        unpacked.flush()
        return Mapped(unpacked, where)
    file = stack.enter_context(path.open("rb"))  # the zip's own has a position of its own
    file.seek(member.header_offset)
    header = file.read(_LOCAL_HEADER)
    name, extra = (int.from_bytes(header[at : at + 2], "little") for at in (26, 28))
    start = member.header_offset + _LOCAL_HEADER + name + extra
    if len(header) < _LOCAL_HEADER or member.compress_size != member.file_size:
        _fail(path, f"the header of {WEIGHTS} is broken")
    if start + member.file_size > file.seek(0, 2):
        _fail(path, f"{WEIGHTS} goes beyond the archive's end")
    mapped = Mapped(file, where, start, member.file_size)
    if _checksum(mapped) != member.CRC:
        _fail(path, f"the checksum of {WEIGHTS} is another: the file is damaged")
    return mapped


def _checksum(mapped: Mapped) -> int:
    checksum = 0
    for start in range(0, len(mapped.view), _CHUNK):
        checksum = zlib.crc32(mapped.view[start : start + _CHUNK], checksum)
        mapped.release()
    return checksum


def _alike(member: zipfile.ZipInfo) -> zipfile.ZipInfo:
    """Returns the header of a member with the same name, time and compression."""
    alike = zipfile.ZipInfo(member.filename, member.date_time)
    alike.compress_type = member.compress_type
    alike.external_attr = member.external_attr
    alike.create_system = member.create_system
    alike.comment = member.comment
    alike.file_size = member.file_size  # by which it is decided whether sizes need 64 bits
    return alike


_BROKEN: Final = (zipfile.BadZipFile, zlib.error, NotImplementedError, RuntimeError, EOFError)


@contextmanager
def _broken(path: Path) -> Iterator[None]:
    """Turns what zipfile raises on broken archives into an UnsupportedError."""
    try:
        yield
    except (*_BROKEN, OSError) as error:
        _fail(path, f"the archive cannot be read: {error}")


def _fail(path: Path, problem: str, advice: str | None = None) -> NoReturn:
    raise UnsupportedError(Violation("E-BASE-UNSUPPORTED", str(path), problem, advice=advice))
