"""The live graph of a base: read where it is one, made in memory where it is not."""

from __future__ import annotations

import io
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO, Any, Final

from fourier_format.adapter import Adapter
from fourier_format.atomic import os_errors
from fourier_format.errors import UsageError, Violation
from fourier_format.live import Interface, from_text
from fourier_format.live.interface import KEY, entries_digest, only_text
from fourier_runtimes.providers import entry_of

PLAIN: Final = Interface(banks=())
"""Of a graph that is not live: it has no place for any adapter."""

_METADATA: Final = 14
"""The field number of ModelProto.metadata_props, and in each of them 1 is the key, 2 the value."""


@dataclass(frozen=True, slots=True, eq=False)
class Graph:
    """What a session is opened from.

    Attributes:
        model: The graph's bytes, or its path.
        options: Session options, as they were given.
        interface: What it says of itself; PLAIN where it is not live.
        entries: Config entries that they lack for this graph, by key.
    """

    model: bytes | str
    options: Any
    interface: Interface
    entries: Mapping[str, str] = field(default_factory=dict)


def read(base: bytes | str, options: Any) -> Graph:
    """Returns the graph that `base` is, live or not.

    Raises:
        InvalidAdapterError: E-LIVE-INTERFACE: what it says of itself is broken.
        FileAccessError: It cannot be read.
    """
    text = live_text(base)
    return Graph(base, options, PLAIN if text is None else from_text(text, name_of(base)))


def made_live(
    adapters: Sequence[Adapter], base: bytes | str, options: Any, *, static: bool = False
) -> Graph:
    """Returns the graph of a plain `base` with a place for each of `adapters`, made in memory.

    Args:
        adapters: One of each sort.
        base: The path of the base.
        options: ONNX Runtime's session options.
        static: Whether it is to have no control flow, as CUDA graphs need.

    Raises:
        TargetNotFoundError: A target was not found in the base, or not uniquely.
        BaseMismatchError: The base is not the one that an adapter was trained on.
        UnsupportedError: An adapter cannot be served live, or the base is not supported.
    """
    if isinstance(base, bytes):
        advice = "give its path, or a live graph's bytes"
        problem = "a live graph is made of a file only"
        raise UsageError(Violation("E-USAGE", "base", problem, advice=advice))
    from fourier_converters.onnx.live import live_at_load
    from fourier_converters.onnx.preparing import FOLDER

    made = live_at_load(list(adapters), Path(base), static=static)
    folder = entry_of(made.options, FOLDER)
    return Graph(made.model, options, made.interface, {FOLDER: folder} if folder else {})


def name_of(base: bytes | str) -> str:
    """Returns what errors call the base."""
    return base if isinstance(base, str) else "the base"


def sort_of(adapter: Adapter) -> tuple[Any, ...]:
    """Returns what a live graph needs to know of an adapter: equal ones need no two places."""
    entries = {s.id: entries_digest(s.entries) for s in adapter.entry_sets}
    targets = sorted((t.name, t.kind, t.shape, entries[t.entries]) for t in adapter.targets)
    tensors = sorted((name, tensor.shape) for name, tensor in adapter.replacements.items())
    return adapter.transform, tuple(targets), tuple(tensors)


def live_text(base: bytes | str) -> str | None:
    """Returns what a model says of itself as a live graph, None where it does not.

    Only the lengths of the other top-level fields are read, so that a large base costs nothing.

    Raises:
        InvalidAdapterError: E-LIVE-INTERFACE: it says so twice.
        FileAccessError: The file cannot be read.
    """
    if isinstance(base, bytes):
        return only_text(_searched(io.BytesIO(base), len(base)), name_of(base))
    path = Path(base)
    with os_errors(path, "read"), path.open("rb") as file:
        return only_text(_searched(file, path.stat().st_size), base)


def _searched(file: IO[bytes], size: int) -> list[str]:
    """Returns the values of the metadata; what is no protobuf is left to ONNX Runtime."""
    found: list[str] = []
    try:
        while file.tell() < size:
            field, data = _field(file, size, wanted=_METADATA)
            if field != _METADATA:
                continue
            pair = _pair(data)
            if pair.get(1) == KEY.encode():
                found.append(pair.get(2, b"").decode("utf-8", "replace"))
    except (EOFError, ValueError):
        return []
    return found


def _pair(data: bytes) -> dict[int, bytes]:
    found, file = {}, io.BytesIO(data)
    while file.tell() < len(data):
        field, value = _field(file, len(data))
        found[field] = value
    return found


def _field(file: IO[bytes], size: int, wanted: int | None = None) -> tuple[int, bytes]:
    """Returns number and bytes of the next field; bytes of `wanted` alone where that is given."""
    tag = _varint(file)
    number, wire = tag >> 3, tag & 7
    if wire == 0:
        _varint(file)
        return number, b""
    length = _varint(file) if wire == 2 else {1: 8, 5: 4}.get(wire, -1)
    if not 0 <= length <= size - file.tell():
        raise ValueError(wire)
    if wanted in {None, number}:
        return number, file.read(length)
    file.seek(length, 1)
    return number, b""


def _varint(file: IO[bytes]) -> int:
    value = 0
    for shift in range(0, 70, 7):
        byte = file.read(1)
        if not byte:
            raise EOFError
        value |= (byte[0] & 127) << shift
        if byte[0] < 128:
            return value
    raise ValueError(value)
