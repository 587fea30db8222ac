"""Writes a merged model: the base's data is copied as files, and only changed ranges are written.

Data files take unique names first and are synced; the .onnx is renamed last, and is the commit.
What a killed run leaves is locked by nobody and named by no model, and the next run removes it.
"""

from __future__ import annotations

import contextlib
import errno
import os
import re
import shutil
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import IO, Any, Final

from fourier_converters.onnx import surgery
from fourier_converters.onnx.merging import Change, Merged
from fourier_converters.onnx.model import Model
from fourier_converters.onnx.replacing import Replaced
from fourier_converters.onnx.tensors import (
    External,
    TensorReader,
    is_external,
    set_external,
    set_values,
)
from fourier_converters.outputs import refuse_input
from fourier_format.adapter import Array
from fourier_format.atomic import companion, os_errors, refuse_existing, staged
from fourier_format.dtypes import little_endian_bytes
from fourier_format.errors import FileAccessError, UnsupportedError, Violation

_ALIGNMENT: Final = 2**16  # what older ONNX Runtimes need to map a tensor, on any system
_INLINE_LIMIT: Final = 1024


def write_merged(
    model: Model,
    reader: TensorReader,
    changes: Iterator[tuple[Change, Merged]],
    added: Sequence[Replaced],
    output: Path,
    *,
    overwrite: bool = False,
) -> None:
    """Write the model with `changes`, each written before the next is computed, and `added` biases.

    Raises:
        OutputExistsError: `output` exists and `overwrite` is false.
        FileAccessError: Writing failed; nothing is left behind.
        UnsupportedError: The external data breaks a rule, or the graph exceeds 2 GB.
    """
    refuse_existing(output, overwrite)
    with contextlib.ExitStack() as stack, os_errors(output, "write"):
        with staged(output, overwrite) as file:
            data = _DataFiles(model, reader, output, file, stack)
            for change, merged in changes:
                _apply(model, data, change, merged.values)
            data.point()
            for bias in added:
                surgery.add_bias(model, bias)
            surgery.drop_unread(model)
            file.write(_serialized(model))
            data.sync()
            replaced = _data_of(output)
            data.belong_to(file)
        data.keep()
        for path in replaced:
            if _is_unreferenced(path):
                path.unlink(missing_ok=True)


class _DataFiles:
    """The copies of the base's external data files that belong to the new model."""

    def __init__(
        self,
        model: Model,
        reader: TensorReader,
        output: Path,
        file: IO[bytes],
        stack: contextlib.ExitStack,
    ) -> None:
        self._external = [t for t in _all_tensors(model.proto) if is_external(t)]
        self._places = {id(t): reader.external(t) for t in self._external}
        self._ranges = sorted(
            (p.location, p.offset, p.offset + p.length) for p in self._places.values()
        )
        self._output = output
        self._model: os.stat_result | None = None
        self._kept = False
        locations = sorted({place.location for place in self._places.values()})
        self._files: dict[str, IO[bytes]] = {}
        self.names = {
            location: companion(output, file, f"{number}.data").name
            for number, location in enumerate(locations)
        }
        refuse_input(output, *(reader.directory / location for location in locations))
        for location, name in self.names.items():
            copy = output.with_name(name)
            stack.callback(self._discard, copy)
            tensor = next(t for t in self._external if self._places[id(t)].location == location)
            source = reader.external_path(tensor, location)
            self._files[location] = stack.enter_context(copy.open("xb+"))
            _copy(source, self._files[location])

    def __bool__(self) -> bool:
        return bool(self._files)

    def replace(self, tensor: Any, values: Array) -> None:
        """Write new values over the tensor's old ones, or at the end where others share them."""
        place = self._places[id(tensor)]
        span = (place.location, place.offset, place.offset + place.length)
        if sum(_overlaps(span, other) for other in self._ranges) > 1:
            self.append(tensor, values)
            return
        file = self._files[place.location]
        file.seek(place.offset)
        file.write(little_endian_bytes(values))

    def append(self, tensor: Any, values: Array) -> None:
        """Write values at the end of the first file and point the tensor at them."""
        location, file = next(iter(self._files.items()))
        offset = -(-file.seek(0, os.SEEK_END) // _ALIGNMENT) * _ALIGNMENT
        file.truncate(offset)
        file.seek(offset)
        data = little_endian_bytes(values)
        file.write(data)
        self._places[id(tensor)] = External(location, offset, len(data))
        if all(tensor is not t for t in self._external):
            self._external.append(tensor)

    def point(self) -> None:
        """Point every external tensor at the new files."""
        for tensor in self._external:
            place = self._places[id(tensor)]
            name = self.names[place.location]
            set_external(tensor, External(name, place.offset, place.length))

    def sync(self) -> None:
        """Make the data durable."""
        for file in self._files.values():
            file.flush()
            os.fsync(file.fileno())
            if not os.fstat(file.fileno()).st_nlink:
                raise FileNotFoundError(errno.ENOENT, "another process removed its data file")

    def belong_to(self, model: IO[bytes]) -> None:
        """From now on the files stay if the open file `model` has got the output's name."""
        self._model = os.fstat(model.fileno())

    def keep(self) -> None:
        """The model is written: the files stay."""
        self._kept = True

    def _discard(self, copy: Path) -> None:
        if not self._kept and not self._is_committed():
            copy.unlink(missing_ok=True)

    def _is_committed(self) -> bool:
        """Whether the model has its name, though an interruption came before `keep`."""
        try:
            there = self._output.stat()
        except OSError:
            return False
        return self._model is not None and os.path.samestat(self._model, there)


def _apply(model: Model, data: _DataFiles, change: Change, values: Array) -> None:
    graph = model.proto.graph
    if change.in_place:
        tensor = model.initializers[change.use.initializer]
        if is_external(tensor):
            data.replace(tensor, values)
        else:
            set_values(tensor, values)
        return
    name = f"{change.use.initializer}.merged"
    tensor = surgery.new_initializer(model, name, change.dtype, values.shape)
    if data and values.nbytes > _INLINE_LIMIT:
        data.append(tensor, values)
    else:
        set_values(tensor, values)
    for read in change.reads:
        graph.node[read.node].input[read.slot] = tensor.name


def _all_tensors(proto: Any) -> Iterator[Any]:
    """Yields every TensorProto of a model: initializers and attributes, at any depth."""
    yield from _graph_tensors(proto.graph)
    for function in proto.functions:
        for node in function.node:
            yield from _node_tensors(node)


def _graph_tensors(graph: Any) -> Iterator[Any]:
    yield from graph.initializer
    for sparse in graph.sparse_initializer:
        yield from (sparse.values, sparse.indices)
    for node in graph.node:
        yield from _node_tensors(node)


def _node_tensors(node: Any) -> Iterator[Any]:
    for attribute in node.attribute:
        if attribute.HasField("t"):
            yield attribute.t
        yield from attribute.tensors
        if attribute.HasField("g"):
            yield from _graph_tensors(attribute.g)
        for graph in attribute.graphs:
            yield from _graph_tensors(graph)


def _overlaps(a: tuple[str, int, int], b: tuple[str, int, int]) -> bool:
    return a[0] == b[0] and a[1] < b[2] and b[1] < a[2]


def _serialized(model: Model) -> bytes:
    from google.protobuf.message import EncodeError

    try:
        content: bytes = model.proto.SerializeToString()
    except (EncodeError, ValueError) as error:  # ValueError: over 2 GB
        problem = f"the merged graph cannot be written as one file: {error}"
        advice = "save the base with external data (onnx.save_model, save_as_external_data=True)"
        raise UnsupportedError(
            Violation("E-BASE-UNSUPPORTED", str(model.path), problem, advice=advice)
        ) from None
    return content


def _copy(source: Path, target: IO[bytes]) -> None:
    """Copy a file's bytes, inside the kernel where it can."""
    with contextlib.ExitStack() as stack:
        with os_errors(source, "read"):
            file = stack.enter_context(source.open("rb"))
            size = os.fstat(file.fileno()).st_size
        if not _copied_by_kernel(file, target, size):
            file.seek(0)
            target.seek(0)
            shutil.copyfileobj(file, target, 2**24)
        if target.seek(0, os.SEEK_END) != size:
            problem = "the base's data changed or could not be read while it was copied"
            raise FileAccessError(Violation("E-IO", str(source), problem))


def _copied_by_kernel(source: IO[bytes], target: IO[bytes], size: int) -> bool:
    """Returns whether the whole file was copied; some file systems refuse, or stop early."""
    left = size
    try:
        while left > 0:
            done = os.copy_file_range(source.fileno(), target.fileno(), left)
            if done == 0:
                return False
            left -= done
    except (OSError, AttributeError):
        return False
    return True


def _data_of(output: Path) -> list[Path]:
    """Returns the data files beside a model of this name that belong to it and are ours."""
    if not output.is_file():
        return []
    pattern = re.compile(rf"{re.escape(output.name)}\.[0-9a-f]{{12}}\.[0-9]+\.data")
    ours = (path for path in output.parent.iterdir() if pattern.fullmatch(path.name))
    return [path for path in ours if _names(output, path.name)]


def _is_unreferenced(data: Path) -> bool:
    """Whether no model beside a replaced one's data names it; a copy of the replaced one may."""
    models = (path for path in data.parent.glob("*.onnx*") if path.suffix != ".data")
    return not any(_names(model, data.name) for model in models if model.is_file())


def _names(model: Path, data_name: str) -> bool:
    """Whether the model file has the name in it, read by pieces that overlap."""
    wanted, tail = data_name.encode(), b""
    with model.open("rb") as file:
        while piece := file.read(2**20):
            if wanted in tail + piece:
                return True
            tail = piece[-len(wanted) :]
    return False
