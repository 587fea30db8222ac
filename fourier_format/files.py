"""Load and save: bytes <-> Adapter through either container, the file's content decides which."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Final, Literal

from fourier_format import limits, manifest
from fourier_format.adapter import Adapter
from fourier_format.atomic import os_errors, write_bytes
from fourier_format.containers import hdf5, safetensors
from fourier_format.document import Document

Container = Literal["fft", "h5"]
HDF5_SUFFIXES: Final = (".h5", ".hdf5")
_AT_ONCE: Final = 2**16
"""Bytes of the first read: most adapters whole."""


def load(path: str | os.PathLike[str]) -> Adapter:
    """Returns the adapter in the file at `path`, a .fft or a .fft.h5.

    Raises:
        InvalidAdapterError: The file breaks the format; every broken rule is listed.
        FileAccessError: It cannot be read.
        DependencyMissingError: It is HDF5 and h5py is not installed.
    """
    return manifest.from_document(read_document(Path(path)), str(path))


def save(adapter: Adapter, path: str | os.PathLike[str], *, overwrite: bool = False) -> None:
    """Write `adapter` to `path`, whole or not at all: HDF5 for .h5 and .hdf5, else .fft.

    Raises:
        InvalidAdapterError: The adapter breaks a rule of the format.
        OutputExistsError: `path` exists and `overwrite` is false.
        FileAccessError: Writing failed.
        DependencyMissingError: HDF5 was asked for and h5py is not installed.
    """
    target = Path(path)
    write(adapter, target, "h5" if target.suffix.lower() in HDF5_SUFFIXES else "fft", overwrite)


def write(adapter: Adapter, path: Path, container: Container, overwrite: bool = False) -> None:
    """Write `adapter` to `path` in the given container, whatever the name; raises as `save`."""
    write_bytes(path, to_bytes(adapter, container), overwrite)


def transcode(source: Path, path: Path, container: Container, overwrite: bool = False) -> None:
    """Write the adapter in the file `source` to `path` in another container, without any loss.

    The manifest's text stays as it is, so a .fft that goes to HDF5 and back is the same to the byte
    whoever wrote it (spec, clause 4.4). Raises as `load` and `save`.
    """
    document = read_document(source)
    manifest.check(document, str(source))
    write_bytes(path, _encode(document, container), overwrite)


def to_bytes(adapter: Adapter, container: Container = "fft") -> bytes:
    """Returns the file's bytes; the same adapter gives the same bytes; raises as `save`."""
    return _encode(manifest.to_document(adapter), container)


def from_bytes(data: bytes, where: str = "bytes") -> Adapter:
    """Returns the adapter in a file's bytes; `where` names it in errors; raises as `load`."""
    return manifest.from_document(decode(data, where), where)


def _encode(document: Document, container: Container) -> bytes:
    return hdf5.encode(document) if container == "h5" else safetensors.encode(document)


def decode(data: bytes, where: str) -> Document:
    """Returns the container's content, digest checked, manifest not yet read."""
    if data.startswith(hdf5.MAGIC):
        return hdf5.decode(data, where)
    return safetensors.decode(data, where)


def read_document(path: Path) -> Document:
    """Returns the content of the file at `path`; a file that is something else is not read whole.

    Raises:
        InvalidAdapterError: The container is broken.
        FileAccessError: It cannot be read.
    """
    with os_errors(path, "read"), path.open("rb") as file:
        data = file.read(_AT_ONCE)
        if not data.startswith(hdf5.MAGIC):
            end = 8 + int.from_bytes(data[:8], "little")
            if end > 8 + limits.MAX_HEADER_BYTES:
                end = 8  # decode says that it is too long
            data += file.read(max(0, end - len(data)))
            head = data[:end]
            if safetensors.MANIFEST_KEY.encode() not in head:  # none, or spelled with escapes
                safetensors.refuse_others(head, str(path))
        if len(data) >= _AT_ONCE:
            data += file.read()
        return decode(data, str(path))
