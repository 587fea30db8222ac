"""What a plan needs to know of a base: its linear layers, and those that adapters change."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from fourier_converters.onnx.candidates import Candidate, Candidates
from fourier_converters.onnx.model import Model
from fourier_converters.onnx.protos import all_tensors
from fourier_converters.onnx.tensors import dtype_of
from fourier_format.adapter import Adapter
from fourier_format.live import Interface
from fourier_runtimes.costs import Group

TARGETS: Final = ("query", "value", "q_proj", "v_proj")
"""The last parts of the names that adapted layers have where nothing says which they are."""


@dataclass(frozen=True, slots=True)
class Weighed:
    """A base's linear layers.

    Attributes:
        weights: The weights of all linear layers: the multiplications of a token.
        targets: (module, (out, in)) of those that have one of the names asked for.
        is_float32: Whether all of its weights are float32, none quantised.
        graph_bytes: What its graph takes without its tensors.
    """

    weights: int
    targets: tuple[tuple[str, tuple[int, int]], ...]
    is_float32: bool
    graph_bytes: int


def weighed(base: str | os.PathLike[str], names: Sequence[str] = TARGETS) -> Weighed:
    """Returns what the ONNX model at `base` consists of; external data is not opened.

    Raises:
        UnsupportedError: It is no ONNX model.
        FileAccessError: It cannot be read.
    """
    model = Model(Path(base))
    candidates = Candidates(model, names)
    linear = [c for c in candidates.all if c.use.kind == "linear" and c.shape is not None]
    whole = {c.use.read: c for c in linear if c.rows is None}
    sizes = (shape[0] * shape[1] for c in whole.values() if (shape := c.shape) is not None)
    named = [c for c in linear if c.module and c.module.rpartition(".")[2] in names]
    targets = {(c.use.read, c.rows): (c.module, c.shape) for c in named}  # a part has many names
    return Weighed(
        sum(sizes),
        tuple(
            sorted((module, shape) for module, shape in set(targets.values()) if module and shape)
        ),
        all(_is_float32(c, model) for c in candidates.all),
        model.proto.ByteSize() - sum(t.ByteSize() for t in all_tensors(model.proto)),
    )


def groups_of_adapter(adapter: Adapter, n: int | None = None) -> list[Group]:
    """Returns the targets of an adapter, those together that seem to read one input."""
    counts = {s.id: s.count for s in adapter.entry_sets}
    named = [(t.name, t.shape, n or counts[t.entries]) for t in adapter.targets]
    return _grouped(named, adapter.transform)


def groups_of_interface(interface: Interface, n: int | None = None) -> list[Group]:
    """Returns the targets of a live graph; one that several banks have counts in the first."""
    seen: dict[str, tuple[str, tuple[int, int], int]] = {}
    for bank in interface.banks:
        for seat in bank.seats:
            seen.setdefault(seat.name, (seat.name, bank.shape, n or bank.count))
    transform = interface.banks[0].transform if interface.banks else "dft2"
    return _grouped(seen.values(), transform)


def groups_of_base(found: Weighed, n: int, transform: str = "dft2") -> list[Group]:
    """Returns the targets of a plain base that have the names asked for."""
    return _grouped(((module, shape, n) for module, shape in found.targets), transform)


def _grouped(named: Iterable[tuple[str, tuple[int, int], int]], transform: str) -> list[Group]:
    """Returns the targets as groups: those of one module, of one shape, are taken to read one x."""
    counts = Counter((name.rpartition(".")[0], shape, n) for name, shape, n in named)
    return [Group(shape, n, count, transform) for (_, shape, n), count in counts.items()]


def _is_float32(candidate: Candidate, model: Model) -> bool:
    tensor = model.tensor(candidate.use.value)
    plain = candidate.use.quantized is None
    return plain and tensor is not None and dtype_of(tensor) == "F32"
