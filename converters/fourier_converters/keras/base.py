"""A base that Keras saved: a .keras archive, one HDF5 file, or shards and their index."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Final, NoReturn

from fourier_converters.base.keras_index import shards_of
from fourier_converters.keras.archive import Archive, open_archive
from fourier_converters.keras.hdf5 import Structure, read_structure
from fourier_converters.keras.layers import read_layers
from fourier_converters.keras.mapped import Mapped, map_file, refuse_stream
from fourier_converters.keras.variables import Variable, variables_of
from fourier_format.atomic import os_errors
from fourier_format.errors import UnsupportedError, Violation

_ZIP: Final = b"PK"
_MEANING: Final = "/fourier/vars/meaning"
"""What the coefficients of a trained target have beside them."""


@dataclass(frozen=True, slots=True, eq=False)
class Base:
    """An opened base.

    Attributes:
        path: What was opened.
        archive: The archive, if it is one.
        shards: The files that an index names, by their names, if it is one.
        files: The bytes of every HDF5 file.
        variables: The model's variables by their paths.
        has_config: Whether it says what its layers are.
    """

    path: Path
    archive: Archive | None
    shards: dict[str, Mapped]
    files: tuple[Mapped, ...]
    variables: dict[str, Variable]
    has_config: bool

    def release(self) -> None:
        """Give back the memory of weights that were looked at."""
        for file in self.files:
            file.release()


@contextmanager
def open_base(path: Path) -> Iterator[Base]:
    """Yields the base at `path`, by what it holds and not by its name; then its files are closed.

    Raises:
        UnsupportedError: It is not Keras's, broken, or uses what Keras does not.
        FileAccessError: It cannot be read.
        DependencyMissingError: h5py is not installed.
    """
    if path.is_dir():
        _fail(path, "a directory", "give the .keras or .weights.h5 file in it")
    refuse_stream(path)
    with ExitStack() as stack:
        yield _opened(path, stack)


def _opened(path: Path, stack: ExitStack) -> Base:
    if path.name.endswith(".json"):
        shards = {name: map_file(path.with_name(name), stack) for name in shards_of(path)}
        return _base(path, None, shards, tuple(shards.values()), None)
    with os_errors(path, "read"), path.open("rb") as file:
        is_zip = file.read(len(_ZIP)) == _ZIP
    if is_zip:
        archive = open_archive(path, stack)
        return _base(path, archive, {}, (archive.weights,), archive.config)
    return _base(path, None, {}, (map_file(path, stack),), None)


def _base(
    path: Path,
    archive: Archive | None,
    shards: dict[str, Mapped],
    files: tuple[Mapped, ...],
    config: bytes | None,
) -> Base:
    structures = [read_structure(file) for file in files]
    _refuse_adapted(path, structures)
    text = config or next((s.config for s in structures if s.config is not None), None)
    layers = read_layers(text)
    found = variables_of(structures, layers)
    if not found:
        advice = "give a .keras, .weights.h5 or .h5 file that Keras saved"
        _fail(path, "no variables where Keras keeps them", advice)
    variables = {variable.path: variable for variable in found}
    if len(variables) < len(found):
        _fail(path, "two shards hold one variable")
    return Base(path, archive, shards, files, variables, bool(layers.by_name))


def _refuse_adapted(path: Path, structures: Iterable[Structure]) -> None:
    for structure in structures:
        for dataset in structure.datasets:
            if f"/{dataset.path}".endswith(_MEANING):
                problem = "it was saved with an adapter attached, which would be added once more"
                advice = "give the plain base: in Keras, detach(model) or merge(model), then save"
                _fail(path, problem, advice)


def _fail(path: Path, problem: str, advice: str | None = None) -> NoReturn:
    raise UnsupportedError(Violation("E-BASE-UNSUPPORTED", str(path), problem, advice=advice))
