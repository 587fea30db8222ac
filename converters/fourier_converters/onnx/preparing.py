"""Preparing: what adapters of one layout share when they are merged into one base at load.

Reading the base, finding the weights, holding them to the fingerprints and editing the graph
depend on the adapter's layout alone. That is done once; for each adapter only its values are left:
delta weights and sums, handed to ONNX Runtime beside one and the same serialized graph.

They are handed over by `add_external_initializers`, which replaces them before the graph is
optimised. (`add_initializer` does not: where a constant is folded on the way to its use, ONNX
Runtime takes the old value, without a word.)
"""

from __future__ import annotations

import contextlib
import hashlib
import os
import threading
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, TypeAlias

import numpy as np

from fourier_converters.mapping import Map
from fourier_converters.onnx.applying import Outcome, QuantizedMode
from fourier_converters.onnx.candidates import Candidate, Candidates
from fourier_converters.onnx.convert import Found, find
from fourier_converters.onnx.external import External, byte_size, is_external, set_external
from fourier_converters.onnx.merging import Made
from fourier_converters.onnx.model import Model
from fourier_converters.onnx.protos import all_tensors, serialized
from fourier_converters.onnx.stores import INLINE_LIMIT
from fourier_converters.onnx.tensors import FLOATS, FOUR_BITS, dtype_of, set_values
from fourier_converters.ort import require_onnxruntime
from fourier_format.adapter import Adapter, Array
from fourier_format.dtypes import BFLOAT16
from fourier_format.threads import by_blocks, cores

FOLDER: Final = "session.model_external_initializers_file_folder_path"
_HANDED: Final = "handed-over-at-load"
_PREPACKED: Final = "prepacked_"
_Uses: TypeAlias = tuple[Candidate, ...]


@dataclass(frozen=True, slots=True, eq=False)
class Merged:
    """What makes a merged session: `onnxruntime.InferenceSession(merged.model, merged.options)`.

    Attributes:
        model: The graph, serialized; unchanged external data stays in the base's files.
        options: Session options that hold the changed weights.
        values: The changed weights; they must live until the session is made.
        size: How many bytes they have.
    """

    model: bytes
    options: Any
    values: tuple[Any, ...]
    size: int


class Prepared:
    """A base that adapters of one layout are merged into at load; threads may share it.

    Attributes:
        base: The .onnx file.
        found: Where the first adapter goes.
        outcome: What was measured when it was put there.
        layout: What other adapters must have in common with it (`layout_of`).
    """

    def __init__(self, base: Path, found: Found) -> None:
        """Edit the graph of `found` for its adapter, and serialize it; raises as `prepare`."""
        model = found.candidates.model
        model.reader.files.refuse_overlaps(all_tensors(model.proto))
        store = _Handed(model)
        self.base: Final = base
        self.found: Final = found
        self.outcome: Final[Outcome] = found.apply(store)
        self.layout: Final = layout_of(found.adapter)
        self._lock: Final = threading.Lock()
        self._handed: Final = {name: tensor for name, (tensor, _) in store.handed.items()}
        self._inline: Final = [tensor for tensor, _ in store.inline.values()]
        self._first: dict[int, Array] | None = {
            id(tensor): values
            for tensor, values in (*store.handed.values(), *store.inline.values())
        }
        self._bases: Final = {
            id(made.tensor): self._first[id(made.tensor)]
            for made in self.outcome.made
            if made.entries is not None
        }
        self._folder, self._model = self._serialized(self._first)

    @property
    def base_bytes(self) -> int:
        """How many bytes the base's tensors have."""
        return sum(byte_size(t) or 0 for t in all_tensors(self.found.candidates.model.proto))

    def merged(self, adapter: Adapter, options: Any = None) -> Merged:
        """Returns the model and session options of the base with `adapter` merged.

        Args:
            adapter: An adapter of this layout.
            options: ONNX Runtime session options to add to; new ones by default.

        Raises:
            DependencyMissingError: onnxruntime is not installed.
            ValueError: The adapter has another layout.
            UnsupportedError: A merged weight is not finite.
        """
        onnxruntime = require_onnxruntime("merging at load")
        model = self._model
        with self._lock if self._inline else contextlib.nullcontext():
            first, self._first = self._first, None
            if first is None or adapter is not self.found.adapter:
                first = self._computed(adapter)
                model = self._serialized(first)[1] if self._inline else model
        values = {
            name: _value(onnxruntime, tensor, first[id(tensor)])
            for name, tensor in self._handed.items()
        }
        options = onnxruntime.SessionOptions() if options is None else options
        if self._folder is not None:
            options.add_session_config_entry(FOLDER, str(self._folder))
        options.add_external_initializers(list(values), list(values.values()))
        size = sum(first[id(tensor)].nbytes for tensor in self._handed.values())
        return Merged(model, options, tuple(values.values()), size)

    def _computed(self, adapter: Adapter) -> dict[int, Array]:
        """Returns the values of every tensor that depends on the adapter, by the tensor's id."""
        if layout_of(adapter) != self.layout:
            raise ValueError("the adapter has another layout than the one that was prepared for")
        made = self.outcome.made
        missing = {id(t) for t in (*self._handed.values(), *self._inline)}
        if not missing <= {id(m.tensor) for m in made}:
            raise ValueError("requantised codes are made for one adapter alone")

        def work(start: int, _: int) -> Array:
            kept = self._kept(made[start], adapter)
            with np.errstate(over="ignore", invalid="ignore"):  # refused where it is made
                return made[start].make(adapter) if kept is None else kept

        values = by_blocks(work, len(made), 1, parallel=len(made) >= cores())
        self.found.candidates.model.reader.files.release()
        return {id(m.tensor): array for m, array in zip(made, values, strict=True)}

    def _kept(self, made: Made, adapter: Adapter) -> Array | None:
        """Returns what is known already since it depends on entries that the adapters share."""
        if made.entries is None:
            return None
        own = next(entries for entries in adapter.entry_sets if entries.id == made.entries.id)
        same = np.array_equal(own.entries, made.entries.entries)
        return self._bases[id(made.tensor)] if same else None

    def _serialized(self, values: dict[int, Array]) -> tuple[Path | None, bytes]:
        """Returns the folder of the external data, and the model without the handed values.

        The protobuf is as it was afterwards: the base's values are read again for each adapter.
        """
        model = self.found.candidates.model
        external = [t for t in all_tensors(model.proto) if is_external(t)]
        with _restored([*external, *self._handed.values(), *self._inline]):
            folder = point_to_real_files(model, self._handed.values())
            for tensor in self._handed.values():
                set_external(tensor, External(_HANDED, 0, values[id(tensor)].nbytes))
            for tensor in self._inline:
                set_values(tensor, values[id(tensor)])
            return folder, serialized(model.proto, str(self.base))


def prepare(
    adapter: Adapter,
    base: Path,
    *,
    mapping: Map | None = None,
    quantized: QuantizedMode = "live",
    verify_full: bool = False,
) -> Prepared:
    """Returns the base at `base`, prepared for all adapters of the layout of `adapter`.

    Raises:
        TargetNotFoundError: A target or replacement was not found, or not uniquely.
        BaseMismatchError: The base is not the one that the adapter was trained on.
        UnsupportedError: The base is of a sort that is not supported.
        FileAccessError: The base cannot be read.
    """
    found = find(adapter, base, mapping=mapping, quantized=quantized, verify_full=verify_full)
    return Prepared(base, found)


def same_places(one: Found, other: Found) -> bool:
    """Whether what an adapter changes in two forms of one base is the same, by the base's values.

    Not so where a tool folded something into a bias, whose new values would lose that; fused a use
    into something unknown, which would be left out; or made one node of two that computed the same,
    of which only one is meant.
    """
    mine, others = _changed(one), _changed(other)
    return mine.keys() == others.keys() and all(
        _is_same(one.candidates, uses, other.candidates, others[key]) for key, uses in mine.items()
    )


def _is_same(
    candidates: Candidates, uses: _Uses, other_candidates: Candidates, others: _Uses
) -> bool:
    """Whether uses have the same values in two graphs, as often, and as often as others there."""
    mine, theirs = candidates.values(uses[0]), other_candidates.values(others[0])
    return (
        len(uses) == len(others)
        and np.array_equal(mine, theirs)
        and _equals(candidates, uses[0], mine) == _equals(other_candidates, others[0], theirs)
    )


def _equals(candidates: Candidates, candidate: Candidate, values: Array) -> int:
    """Returns how many uses of the sort of `candidate` have its values, by samples of matrices."""
    sort = (candidate.use.kind, candidate.use.role, candidate.shape)
    alike = {
        (c.use, c.rows): c for c in candidates.all if (c.use.kind, c.use.role, c.shape) == sort
    }
    if candidate.shape is not None:
        samples = candidates.samples(candidate)
        return sum(np.array_equal(samples, candidates.samples(c)) for c in alike.values())
    return sum(np.array_equal(values, candidates.values(c)) for c in alike.values())


def _changed(found: Found) -> dict[tuple[str, str], _Uses]:
    """Returns the uses of what changes; of a bias that is added, the layer's."""
    uses = {("target", match.target.name): match.uses for match in found.matches}
    kinds = {r.name: "added" if r.added else "replaced" for r in found.replaced}
    return uses | {(kinds[r.name], r.name): r.uses for r in found.replaced}


def layout_of(adapter: Adapter) -> str:
    """Returns a digest of all that decides where an adapter goes, and whether it may.

    Targets with their fingerprints, replacements with their shapes; no coefficients, entries or
    values.
    """
    digest = hashlib.sha256()

    def add(*parts: object) -> None:
        digest.update(repr(parts).encode())

    add(adapter.transform, (adapter.base_model or {}).get("model_type"))
    for target in adapter.targets:
        entries = adapter.entry_set(target)
        add(target.name, target.kind, target.shape, target.entries, entries.count)
        prints = entries.fingerprints
        if prints is not None:
            row = target.row
            add(prints.dtype, float(prints.norm[row]))
            digest.update(prints.samples[row].tobytes() + prints.sha256[row].tobytes())
    for name, values in adapter.replacements.items():
        add(name, str(values.dtype), values.shape)
    return digest.hexdigest()


class _Handed:
    """A store that keeps values in memory; what the base has is left as it is.

    Attributes:
        handed: Name -> the tensor and the values that a session is handed for it.
        inline: The id of a tensor -> the tensor and the values that go inside the model.
    """

    def __init__(self, model: Model) -> None:
        self._constants = {
            id(t)
            for scope in model.scopes
            for name, t in scope.tensors.items()
            if name in scope.producers or scope is not model.scopes[0]
        }
        self.handed: dict[str, tuple[Any, Array]] = {}
        self.inline: dict[int, tuple[Any, Array]] = {}

    def replace(self, tensor: Any, values: Array) -> None:
        """Hand over an initializer's new values; Constants and inner ones go inside the model."""
        # no OrtValue from Python holds four bits
        if id(tensor) in self._constants or tensor.data_type in FOUR_BITS:
            self.inline[id(tensor)] = tensor, values
        else:
            self.handed[tensor.name] = tensor, values

    def add(self, tensor: Any, values: Array) -> None:
        """Hand over a new tensor's values; small integers, such as shapes, stay in the model."""
        if dtype_of(tensor) not in FLOATS and values.nbytes <= INLINE_LIMIT:
            set_values(tensor, values)
        else:
            self.replace(tensor, values)


@contextlib.contextmanager
def _restored(tensors: Iterable[Any]) -> Iterator[None]:
    """Lets the block change tensors, which are what they were afterwards."""
    before = {id(tensor): (tensor, type(tensor)()) for tensor in tensors}
    for tensor, copy in before.values():
        copy.CopyFrom(tensor)
    try:
        yield
    finally:
        for tensor, copy in before.values():
            tensor.CopyFrom(copy)


def point_to_real_files(model: Model, handed: Iterable[Any]) -> Path | None:
    """Returns the folder that unchanged external data is now relative to, None without any.

    In a hub cache the data is a link, and ONNX Runtime refuses links that leave the folder.
    """
    files, others = model.reader.files, {id(tensor) for tensor in handed}
    tensors = [t for t in all_tensors(model.proto) if is_external(t) and id(t) not in others]
    if not tensors:
        return None
    places = [files.place(tensor) for tensor in tensors]
    real = {location: files.path(location) for location in {place.location for place in places}}
    folder = Path(os.path.commonpath([path.parent for path in real.values()]))
    for tensor, place in zip(tensors, places, strict=True):
        prepacked = [(e.key, e.value) for e in tensor.external_data if e.key.startswith(_PREPACKED)]
        location = real[place.location].relative_to(folder).as_posix()
        set_external(tensor, External(location, place.offset, place.length))
        for key, value in prepacked:  # sessions then share what kernels made of the weight
            entry = tensor.external_data.add()
            entry.key, entry.value = key, value
    return folder


def _value(onnxruntime: Any, tensor: Any, values: Array) -> Any:
    make = onnxruntime.OrtValue
    if values.dtype != BFLOAT16:
        return make.ortvalue_from_numpy(values)
    return make.ortvalue_from_numpy_with_onnx_type(values.view(np.uint16), tensor.data_type)
