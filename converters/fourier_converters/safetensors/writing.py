"""Writes a merged checkpoint: files like the base's, in which only changed ranges are new.

A file whose tensors keep their shapes is copied as a file and written over; one that gets new
tensors, or tensors of new shapes, is laid out anew, and of it too only the changes are computed.
"""

from __future__ import annotations

import json
import math
import sys
from collections.abc import Callable, Iterable, Mapping, Sequence
from fnmatch import fnmatchcase
from pathlib import Path
from typing import IO, Any, Final

from fourier_converters.base.safetensors_file import SafetensorsFile, Stored
from fourier_converters.base.shards import Checkpoint, read_json
from fourier_converters.copying import copy_file, copy_range
from fourier_converters.directories import files_in
from fourier_converters.merging import Change
from fourier_format.adapter import Array
from fourier_format.atomic import os_errors
from fourier_format.dtypes import DTYPES, little_endian_bytes

Compute = Callable[[Change], Array]
"""Gives a change's new values, in its dtype and shape."""

_OTHER_FORMS: Final = (
    ".bin",
    ".bin.index.json",
    ".ckpt",
    ".gguf",
    ".h5",
    ".msgpack",
    ".onnx",
    ".onnx.data",
    ".onnx_data",
    ".ot",
    ".pt",
    ".pth",
    ".safetensors.index.json",
    ".tflite",
)
"""Names of files that hold the base's weights in another form, which the adapter is not in."""

_COMPANIONS: Final = (
    "added_tokens.json",
    "bpe.codes",
    "chat_template.*",
    "config.json",
    "generation_config.json",
    "merges.txt",
    "*preprocessor_config.json",
    "processor_config.json",
    "sentencepiece*.model",
    "special_tokens_map.json",
    "spiece.model",
    "tokenizer*",
    "vocab*",
)
"""What belongs to a file of weights wherever it lies; other files there may be anyone's."""

_WEIGHTS: Final = ".safetensors"

_ALIGNMENT: Final = 8
"""Of the tensor data in the file, as the safetensors library writes it."""


def write_weights(
    folder: Path, checkpoint: Checkpoint, changes: Sequence[Change], compute: Compute
) -> None:
    """Write the checkpoint's files with `changes` into `folder`; new tensors into the last file.

    Raises:
        FileAccessError: Reading failed.
        OSError: Writing failed.
    """
    by_file: dict[Path, dict[str, Change]] = {file.path: {} for file in checkpoint.files}
    for change in changes:
        file = checkpoint.tensors.get(change.tensor, checkpoint.files[-1])
        by_file[file.path][change.tensor] = change
    for file in checkpoint.files:
        with (folder / file.path.name).open("xb+") as target:
            own = by_file[file.path]
            write = _write_over if all(map(_keeps_its_place(file), own.values())) else _lay_out
            write(file, target, own, compute)
    if checkpoint.index is not None:
        _write_index(folder / checkpoint.index.name, checkpoint, changes)


def files_beside(checkpoint: Checkpoint) -> list[str]:
    """Returns what may belong to a checkpoint: all in a directory; of one file's, companions."""
    if checkpoint.path.is_dir():
        return files_in(checkpoint.directory)
    with os_errors(checkpoint.directory, "read"):
        names = sorted(path.name for path in checkpoint.directory.iterdir())
    return [name for name in names if any(fnmatchcase(name, form) for form in _COMPANIONS)]


def other_files(checkpoint: Checkpoint, names: Iterable[str]) -> tuple[list[str], list[str]]:
    """Returns which of the directory's further files belong to the result, and which do not.

    Args:
        checkpoint: The base.
        names: The paths of its directory's files, relative to it.
    """
    own = {file.path.name for file in checkpoint.files}
    own |= {checkpoint.index.name} if checkpoint.index else set()
    kept, left = list[str](), list[str]()
    for name in names:
        is_hidden = any(part.startswith(".") for part in name.split("/"))
        if name in own or is_hidden or name.endswith("/"):
            continue
        is_form = name.endswith(_OTHER_FORMS) or ("/" not in name and name.endswith(_WEIGHTS))
        is_file = (checkpoint.directory / name).is_file()
        (kept if is_file and not is_form else left).append(name)
    return kept, left


def write_json(path: Path, content: Any) -> None:
    """Write JSON as transformers does."""
    path.write_text(json.dumps(content, indent=2, ensure_ascii=False) + "\n", "utf-8")


def _keeps_its_place(file: SafetensorsFile) -> Callable[[Change], bool]:
    def keeps(change: Change) -> bool:
        stored = file.stored.get(change.tensor)
        return stored is not None and (stored.dtype, stored.shape) == (change.dtype, change.shape)

    return keeps


def _write_over(
    file: SafetensorsFile, target: IO[bytes], changes: Mapping[str, Change], compute: Compute
) -> None:
    copy_file(file.path, target)
    for change in changes.values():
        target.seek(file.stored[change.tensor].start)
        target.write(little_endian_bytes(compute(change)))


def _lay_out(
    file: SafetensorsFile, target: IO[bytes], changes: Mapping[str, Change], compute: Compute
) -> None:
    """Write the file with a new header; wide dtypes first, so that every tensor is aligned."""
    entries = file.stored | {name: _new_entry(file, c) for name, c in changes.items()}
    order = sorted(entries, key=lambda name: (-_width(entries[name].dtype), entries[name].start))
    target.write(_header(file.metadata, entries, order))
    for name in order:
        if name in changes:
            target.write(little_endian_bytes(compute(changes[name])))
        else:
            place = entries[name]
            copy_range(file.path, place.start, place.stop - place.start, target)


def _new_entry(file: SafetensorsFile, change: Change) -> Stored:
    """Returns a change's entry: where the old tensor is, or behind all others."""
    old = file.stored.get(change.tensor)
    start = sys.maxsize if old is None else old.start
    return Stored(change.dtype, change.shape, start, start + _size(change))


def _header(metadata: Any, entries: Mapping[str, Stored], order: Sequence[str]) -> bytes:
    """Returns length and text of a header whose tensors lie in `order`, without holes."""
    offsets, position = {}, 0
    for name in order:
        end = position + entries[name].stop - entries[name].start
        offsets[name] = [position, end]
        position = end
    header = {} if metadata is None else {"__metadata__": metadata}
    header |= {
        name: {"dtype": e.dtype, "shape": list(e.shape), "data_offsets": offsets[name]}
        for name, e in entries.items()
    }
    text = json.dumps(header, separators=(",", ":"), ensure_ascii=False).encode()
    text += b" " * (-len(text) % _ALIGNMENT)
    return len(text).to_bytes(8, "little") + text


def _width(dtype: str) -> int:
    """Returns the bytes of one value; dtypes that are not known here are narrow ones."""
    return DTYPES[dtype].itemsize if dtype in DTYPES else 1


def _write_index(path: Path, checkpoint: Checkpoint, changes: Sequence[Change]) -> None:
    """Copy the index, or write one that names the added tensors and states the new size."""
    index = checkpoint.index
    if index is None:
        return
    grown = sum(_growth(checkpoint, change) for change in changes)
    added = [change.tensor for change in changes if change.tensor not in checkpoint.tensors]
    if not grown and not added:
        with path.open("xb") as target:
            copy_file(index, target)
        return
    content = read_json(index)
    content["weight_map"] |= dict.fromkeys(added, checkpoint.files[-1].path.name)
    metadata = content.get("metadata")
    if isinstance(metadata, dict) and type(metadata.get("total_size")) is int:
        metadata["total_size"] += grown
    write_json(path, content)


def _growth(checkpoint: Checkpoint, change: Change) -> int:
    if change.tensor not in checkpoint.tensors:
        return _size(change)
    stored = checkpoint.tensors[change.tensor].stored[change.tensor]
    return _size(change) - (stored.stop - stored.start)


def _size(change: Change) -> int:
    return math.prod(change.shape) * _width(change.dtype)
