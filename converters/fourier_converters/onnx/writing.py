"""Writes a merged model: the base's data is copied as files, and only changed ranges are written.

Data files take unique names first and are synced; the .onnx is renamed last, and is the commit.
What a killed run leaves is locked by nobody and named by no model, and the next run removes it.
"""

from __future__ import annotations

import contextlib
import re
from collections.abc import Callable, Iterator
from itertools import islice
from pathlib import Path
from typing import Any, Final

from fourier_converters.onnx.data_files import (
    AddedData,
    CopiedData,
    DataFiles,
    check_added,
    check_copied,
)
from fourier_converters.onnx.external import byte_size
from fourier_converters.onnx.model import Model
from fourier_converters.onnx.protos import all_tensors, serialized
from fourier_converters.onnx.stores import Discarding, Store
from fourier_format.atomic import exclusive, os_errors, refuse_existing, staged
from fourier_format.errors import UnsupportedError, Violation

_LARGE: Final = 2**24
"""Bytes of weights inside the .onnx file from which it is put together here."""

_LARGEST: Final = 2**31 - 1
"""Bytes that protobuf can hold in one message."""

_LEVELS: Final = 3
"""Directories above some data in which models that refer to it are looked for."""

_MANY: Final = 10_000
"""Files among which they are looked for."""

# Tags, that is number << 3 | 2 for a field of bytes: ModelProto, GraphProto, TensorProto.
_GRAPH, _INITIALIZER, _RAW_DATA = b"\x3a", b"\x2a", b"\x4a"


def write_merged(
    model: Model,
    apply: Callable[[Store], None],
    output: Path,
    *,
    reference: bool = False,
    overwrite: bool = False,
) -> None:
    """Write the model after `apply` has changed it and given all new values to a store.

    Args:
        model: The base, opened.
        apply: Edits the model's protobuf; one tensor's values at a time go to the store.
        output: The .onnx file.
        reference: Whether to refer to the base's external data rather than to copy it.
        overwrite: Whether `output` may exist.

    Raises:
        OutputExistsError: `output` exists and `overwrite` is false.
        FileAccessError: Writing failed; nothing is left behind.
        UnsupportedError: The external data breaks a rule, or the graph exceeds 2 GB.
        UsageError: The base's data cannot be referred to from `output`.
    """
    refuse_existing(output, overwrite)
    store_kind = AddedData if reference else CopiedData
    with contextlib.ExitStack() as stack, os_errors(output, "write"):
        with staged(output, overwrite) as file:
            data = DataFiles(output, file, stack)
            files, tensors = model.reader.files, [*all_tensors(model.proto)]
            apply(store_kind(files, tensors, data, output))
            data.point()
            file.writelines(_pieces(model.proto, str(model.path)))
            data.sync()
            stack.enter_context(exclusive(output))  # who replaces whom must be clear
            replaced = _data_of(output)
            data.belong_to(file)
        data.keep()
        for path in replaced:
            if _is_unreferenced(path):
                path.unlink(missing_ok=True)


def carry_out(
    model: Model,
    apply: Callable[[Store], None],
    output: Path,
    *,
    reference: bool,
    overwrite: bool,
    dry_run: bool,
) -> None:
    """Write the model after `apply` has changed it or, in a dry run, do all of that but write.

    The arguments are those of `write_merged`, and it raises as that does.
    """
    if not dry_run:
        write_merged(model, apply, output, reference=reference, overwrite=overwrite)
        return
    check = check_added if reference else check_copied
    check(model.reader.files, [*all_tensors(model.proto)], output)
    apply(Discarding(model))


def _pieces(proto: Any, where: str) -> Iterator[bytes]:
    """Yields the bytes of a ModelProto, which may lose its graph on the way; `where` names it.

    Protobuf moves large weights three times to write them. So the graph is put together here: the
    initializers last in it, each a head and its bytes, as any reader of protobuf takes them.

    Raises:
        UnsupportedError: It is too large for protobuf.
    """
    inside = [t for t in proto.graph.initializer if t.HasField("raw_data")]
    if sum(byte_size(t) or 0 for t in inside) < _LARGE:
        yield serialized(proto, where)
        return
    tensors = list(proto.graph.initializer)
    del proto.graph.initializer[:]
    graph = proto.graph.SerializeToString()
    proto.ClearField("graph")
    pieces = [graph]
    for tensor in tensors:
        data = _field(_RAW_DATA, tensor.raw_data) if tensor.HasField("raw_data") else ()
        tensor.ClearField("raw_data")
        head = tensor.SerializeToString()
        size = len(head) + sum(map(len, data))
        pieces += [*_head(_INITIALIZER, size), head, *data]
    start = proto.SerializeToString()
    size = sum(map(len, pieces))
    if len(start) + size > _LARGEST:
        problem = f"the merged graph cannot be written as one file: it takes {size} bytes"
        advice = "save the base with external data (onnx.save_model, save_as_external_data=True)"
        raise UnsupportedError(Violation("E-BASE-UNSUPPORTED", where, problem, advice=advice))
    yield start
    yield from _head(_GRAPH, size)
    yield from pieces


def _field(tag: bytes, data: bytes) -> tuple[bytes, ...]:
    """Returns a field of bytes in pieces."""
    return (*_head(tag, len(data)), data)


def _head(tag: bytes, size: int) -> tuple[bytes, ...]:
    """Returns what stands before the `size` bytes of a field: its tag, and the size as varint."""
    varint = bytearray()
    while size >= 0x80:
        varint.append(size & 0x7F | 0x80)
        size >>= 7
    varint.append(size)
    return tag, bytes(varint)


def _data_of(output: Path) -> list[Path]:
    """Returns the data files beside a model of this name that belong to it and are ours."""
    if not output.is_file():
        return []
    pattern = re.compile(rf"{re.escape(output.name)}\.[0-9a-f]{{12}}\.[0-9]+\.data")
    ours = (path for path in output.parent.iterdir() if pattern.fullmatch(path.name))
    return [path for path in ours if names_data(output, path.name)]


def _is_unreferenced(data: Path) -> bool:
    """Whether no model that may refer to a replaced one's data names it.

    Such are a copy of the replaced one, and those that `reference` made, which may lie above it.
    Where there are too many files to look at, or some cannot be read, it counts as referred to.
    """
    folders = [data.parent, *data.absolute().parents[1 : _LEVELS + 1]]
    try:
        found = [path for folder in folders for path in islice(folder.iterdir(), _MANY + 1)]
        models = [path for path in found if ".onnx" in path.name and path.suffix != ".data"]
        too_many = len(found) > _MANY
        return not too_many and not any(names_data(m, data.name) for m in models if m.is_file())
    except OSError:
        return False


def names_data(model: Path, data_name: str) -> bool:
    """Whether the model file has the name in it, read by pieces that overlap."""
    wanted, tail = data_name.encode(), b""
    with model.open("rb") as file:
        while piece := file.read(2**20):
            if wanted in tail + piece:
                return True
            tail = piece[-len(wanted) :]
    return False
