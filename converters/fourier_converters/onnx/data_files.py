"""The external data of a merged model: copies of the base's files, or one small file beside them.

Both are stores. `CopiedData` copies each file inside the kernel while new values are computed, and
overwrites the changed ranges behind the copying. `AddedData` leaves the base's files where they
are, refers to them, and holds the new values alone.
"""

from __future__ import annotations

import contextlib
import errno
import os
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from typing import IO, Any

from fourier_converters.onnx.data_file import DataFile
from fourier_converters.onnx.external import External, ExternalFiles, is_external, set_external
from fourier_converters.onnx.stores import INLINE_LIMIT
from fourier_converters.onnx.tensors import FOUR_BITS, set_values, stored_bytes
from fourier_converters.outputs import refuse_input
from fourier_format.adapter import Array
from fourier_format.atomic import companion
from fourier_format.dtypes import little_endian_bytes
from fourier_format.errors import UsageError, Violation


class DataFiles:
    """The data files that a run makes; they go with it unless their model is committed."""

    def __init__(self, output: Path, file: IO[bytes], stack: contextlib.ExitStack) -> None:
        """Takes the model's final path, the file that is staged for it, and who cleans up."""
        self._output = output
        self._staged = file
        self._stack = stack
        self._model: os.stat_result | None = None
        self._kept = False
        self._files: list[DataFile] = []
        self._places: dict[int, tuple[Any, External]] = {}
        self._copies: dict[str, Future[None]] = {}
        self._syncing: list[Future[None]] = []
        self._pool = stack.enter_context(ThreadPoolExecutor(1))

    @property
    def count(self) -> int:
        """How many data files there are."""
        return len(self._files)

    def create(self) -> DataFile:
        """Returns a new data file."""
        path = companion(self._output, self._staged, f"{len(self._files)}.data")
        self._stack.callback(self._discard, path)
        file = DataFile(path, self._stack)
        self._stack.callback(self._stop)  # before any file is closed
        self._files.append(file)
        return file

    def copy(self, sources: Mapping[str, Path]) -> dict[str, DataFile]:
        """Begin to copy each of `sources` to a file of its own; `overwrite` waits where it must."""
        files = {key: self.create() for key in sources}
        for key, source in sources.items():
            file = files[key]
            self._copies[file.name] = self._pool.submit(file.copy, source)
        for file in files.values():
            self._syncing.append(self._pool.submit(file.sync))
        return files

    def overwrite(self, place: External, file: DataFile, tensor: Any, values: Array) -> None:
        """Write values over the bytes at `place`, which keeps its size."""
        file.wait(place.end, self._copies.get(file.name))
        file.write_at(place.offset, _stored(tensor, values))
        self._sync_behind(file)

    def append(self, tensor: Any, values: Array, file: DataFile) -> None:
        """Write values at an aligned place at the end of `file` and point the tensor at them."""
        copying = self._copies.get(file.name)
        if copying is not None:
            copying.result()
        data = _stored(tensor, values)
        self.place(tensor, External(file.name, file.append(data), len(data)))
        self._sync_behind(file)

    def place(self, tensor: Any, place: External) -> None:
        """Note where a tensor's bytes are going to be."""
        self._places[id(tensor)] = (tensor, place)

    def point(self) -> None:
        """Point every placed tensor at its place."""
        for tensor, place in self._places.values():
            set_external(tensor, place)

    def sync(self) -> None:
        """Make the data durable."""
        for future in (*self._copies.values(), *self._syncing):
            future.result()
        for file in self._files:
            file.sync()
            if not file.is_there:
                raise FileNotFoundError(errno.ENOENT, "another process removed its data file")

    def belong_to(self, model: IO[bytes]) -> None:
        """From now on the files stay if the open file `model` has got the output's name."""
        self._model = os.fstat(model.fileno())

    def keep(self) -> None:
        """The model is written: the files stay."""
        self._kept = True

    def _sync_behind(self, file: DataFile) -> None:
        if file.is_behind:
            self._syncing.append(self._pool.submit(file.sync))

    def _stop(self) -> None:
        """Have nothing running that could write to a file once it is closed."""
        for file in self._files:
            file.stop()
        self._pool.shutdown(cancel_futures=True)

    def _discard(self, path: Path) -> None:
        if not self._kept and not self._is_committed():
            path.unlink(missing_ok=True)

    def _is_committed(self) -> bool:
        """Whether the model has its name, though an interruption came before `keep`."""
        try:
            there = self._output.stat()
        except OSError:
            return False
        return self._model is not None and os.path.samestat(self._model, there)


class CopiedData:
    """A store that copies the base's data and overwrites the changed ranges."""

    def __init__(
        self, files: ExternalFiles, tensors: Sequence[Any], data: DataFiles, output: Path
    ) -> None:
        """Begin to copy the files that the base's `tensors` lie in."""
        external = [tensor for tensor in tensors if is_external(tensor)]
        places = [(tensor, files.place(tensor)) for tensor in external]
        self._data = data
        self._copies = data.copy(check_copied(files, tensors, output))
        self._old: dict[int, External] = {id(tensor): place for tensor, place in places}
        self._tensors = external  # held, so that their ids stay theirs
        self._shared = _shared(place for _, place in places)
        for tensor, place in places:
            name = self._copies[place.location].name
            data.place(tensor, External(name, place.offset, place.length))

    def replace(self, tensor: Any, values: Array) -> None:
        """Write new values over the tensor's old ones, or at the end where others share them."""
        if not is_external(tensor):
            set_values(tensor, values)
            return
        place = self._old[id(tensor)]
        file = self._copies[place.location]
        if place in self._shared:
            self._data.append(tensor, values, file)
        else:
            self._data.overwrite(place, file, tensor, values)

    def add(self, tensor: Any, values: Array) -> None:
        """Write values at the end of the first file; small ones go inside the model."""
        if values.nbytes <= INLINE_LIMIT or not self._copies:
            set_values(tensor, values)
        else:
            self._data.append(tensor, values, next(iter(self._copies.values())))


class AddedData:
    """A store that refers to the base's data and writes new values to a file of its own."""

    def __init__(
        self, files: ExternalFiles, tensors: Sequence[Any], data: DataFiles, output: Path
    ) -> None:
        """Refer to the files that the base's `tensors` lie in.

        Raises:
            UsageError: The base has no external data, or the output lies where it cannot refer
                to it.
            UnsupportedError: The data is reached by a link.
        """
        prefix = check_added(files, tensors, output)
        self._data = data
        self._file: DataFile | None = None
        for tensor in tensors:
            if is_external(tensor):
                place = files.place(tensor)
                moved = External(prefix + place.location, place.offset, place.length)
                data.place(tensor, moved)

    def replace(self, tensor: Any, values: Array) -> None:
        """Write the new values to the file of its own."""
        if is_external(tensor):
            self._write(tensor, values)
        else:
            set_values(tensor, values)

    def add(self, tensor: Any, values: Array) -> None:
        """Write values to the file of its own; small ones go inside the model."""
        if values.nbytes <= INLINE_LIMIT:
            set_values(tensor, values)
        else:
            self._write(tensor, values)

    def _write(self, tensor: Any, values: Array) -> None:
        if self._file is None:
            self._file = self._data.create()
        self._data.append(tensor, values, self._file)


def check_copied(files: ExternalFiles, tensors: Sequence[Any], output: Path) -> dict[str, Path]:
    """Returns the real file behind each location, after every check; nothing is written.

    Raises:
        UnsupportedError: The external data breaks a rule.
        UsageError: `output` is one of the files.
    """
    locations = files.locations(tensors)
    files.refuse_overlaps(tensors)
    sources = {location: files.path(location) for location in locations}
    refuse_input(output, *sources.values())
    return sources


def check_added(files: ExternalFiles, tensors: Sequence[Any], output: Path) -> str:
    """Returns the way from the output's directory down to the base's, after every check.

    Raises:
        UsageError: The base has no external data, or the output lies where it cannot refer
            to it, or is one of the files.
        UnsupportedError: The data breaks a rule, or is reached by a link.
    """
    if not any(is_external(tensor) for tensor in tensors):
        problem = "the base has its weights inside the .onnx file, so none can be referred to"
        advice = "use --external-data copy, or save the base with external data"
        raise UsageError(Violation("E-USAGE", "--external-data", problem, advice=advice))
    prefix = _prefix(files.directory, output)
    check_copied(files, tensors, output)
    files.refuse_links()
    return prefix


def _prefix(directory: Path, output: Path) -> str:
    """Returns the way from the output's directory down to the base's, "" where they are one.

    Raises:
        UsageError: It does not go down: readers refuse such locations.
    """
    relative = os.path.relpath(os.path.realpath(directory), os.path.realpath(output.parent))
    if relative == ".":
        return ""
    if Path(relative).parts[0] == "..":
        problem = "a model can refer only to data in its own directory or below"
        advice = f"write the output to {directory} with -o, or use --external-data copy"
        raise UsageError(Violation("E-USAGE", str(output), problem, advice=advice))
    return relative.replace(os.sep, "/") + "/"


def _stored(tensor: Any, values: Array) -> bytes | memoryview:
    """Returns the bytes to store, without a copy of them where values are whole bytes."""
    packed = tensor.data_type in FOUR_BITS
    return stored_bytes(tensor, values) if packed else little_endian_bytes(values)


def _shared(places: Iterable[External]) -> set[External]:
    """Returns the places that more than one tensor has."""
    return {place for place, count in Counter(places).items() if count > 1}
