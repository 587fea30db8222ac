"""The adapter in memory: frozen records that mirror the manifest (spec, clauses 3 and 5).

None of these classes knows a file format or a framework; `fourier_format.files`, the converters
and the trainers turn them into other things. Arrays are read-only views.
"""

from __future__ import annotations

import difflib
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Final

import numpy as np
import numpy.typing as npt

from fourier_format.errors import TargetNotFoundError, Violation
from fourier_format.wavelets import LOW_PASS

Array = npt.NDArray[Any]
Json = Mapping[str, Any]

TRANSFORMS: Final = ("dft2", "dct2", "dht2", *(f"dwt2:{wavelet}" for wavelet in LOW_PASS))
"""The transforms of version 1.0 (spec/registry.md, table 1)."""

KINDS: Final = ("linear", "conv2d", "embedding", "einsum_dense")
"""The kinds of target of version 1.0 (spec/registry.md, table 2)."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Sampling:
    """How the entries of a set were drawn: provenance, the tensor always wins (spec, clause 7).

    Attributes:
        method: "uniform", "band-pass", "torch-randperm" or "explicit".
        generator: The generator's name in the registry; None for "explicit".
        seed: The generator's seed, 0 to 2**64 - 1; None takes the adapter's.
        parameters: Numbers that the method needs, such as centre and width.
        extensions: Optional fields that this version does not know, kept as they are.
    """

    method: str
    generator: str | None = None
    seed: int | None = None
    parameters: Mapping[str, float] = field(default_factory=dict)
    extensions: Json = field(default_factory=dict)


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class Fingerprints:
    """What identifies the base weights of one entry set's targets (spec, clause 9).

    Attributes:
        dtype: The dtype of the base weights, "F32", "F16", "BF16" or "F64".
        samples: (L, 32) float32, values of the canonical matrix at the defined positions.
        norm: (L,) float64, the Frobenius norms.
        sha256: (L, 32) uint8, digests of the canonical matrices' bytes.
        extensions: Optional fields that this version does not know, kept as they are.
    """

    dtype: str
    samples: Array
    norm: Array
    sha256: Array
    extensions: Json = field(default_factory=dict)

    def __post_init__(self) -> None:
        """Make the arrays read-only."""
        _freeze(self, "samples", "norm", "sha256")


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class EntrySet:
    """Spectral entries shared by targets of one shape, with the coefficients of each.

    Attributes:
        id: The set's name in the file, such as "384x384".
        shape: (out, in) of the canonical matrix.
        entries: (n, 2) int32, one (u, v) a row; u goes with the output axis.
        coefficients: (L, n) float32, float16 or bfloat16; one row a target.
        sampling: How the entries were drawn, if known.
        fingerprints: What identifies the base weights, if known.
        extensions: Optional fields that this version does not know, kept as they are.
    """

    id: str
    shape: tuple[int, int]
    entries: Array
    coefficients: Array
    sampling: Sampling | None = None
    fingerprints: Fingerprints | None = None
    extensions: Json = field(default_factory=dict)

    def __post_init__(self) -> None:
        """Make the arrays read-only."""
        _freeze(self, "entries", "coefficients")

    @property
    def count(self) -> int:
        """The number n of entries, and of coefficients of one target."""
        return int(self.entries.shape[0]) if self.entries.ndim else 0

    def __repr__(self) -> str:
        """Short, as in EntrySet<384x384, n=1000, L=12, float32>."""
        rows = self.coefficients.shape[0]
        shape = f"{self.shape[0]}x{self.shape[1]}"
        return f"EntrySet<{shape}, n={self.count}, L={rows}, {self.coefficients.dtype}>"


@dataclass(frozen=True, kw_only=True, slots=True)
class Target:
    """One adapted weight.

    Attributes:
        name: The module path in its own framework.
        kind: How the stored weight becomes the canonical matrix (spec/registry.md, table 2).
        shape: (out, in) of the canonical matrix.
        entries: The id of its entry set.
        row: Its row in the set's coefficients.
        alpha: Its own scale; None takes the adapter's.
        extensions: Optional fields that this version does not know, kept as they are.
    """

    name: str
    kind: str
    shape: tuple[int, int]
    entries: str
    row: int
    alpha: float | None = None
    extensions: Json = field(default_factory=dict)


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class Adapter:
    """A FourierFT adapter: everything that a .fft file holds.

    Attributes:
        alpha: The scale of the delta weights.
        entry_sets: The spectral entries and coefficients.
        targets: The adapted weights, in file order.
        transform: The transform's registered name.
        seed: The default seed of the entry sets' recipes, if any.
        target_modules: What the user asked to adapt: suffixes, or one regular expression.
        replacements: Whole tensors trained beside the adapter, by parameter name.
        base_model: What is known of the base: "name", "revision" and so on.
        producer: What wrote the adapter: "name", "version".
        labels: Class names of a trained head, by index.
        origin: The configuration that the adapter came from, "format" and "text".
        metadata: Free JSON of the user's.
        version: The version of the format, "MAJOR.MINOR".
        extensions: Optional top-level fields that this version does not know.
        extension_tensors: Their tensors, by full name "extensions/<field>/...".
    """

    alpha: float
    entry_sets: tuple[EntrySet, ...]
    targets: tuple[Target, ...]
    transform: str = "dft2"
    seed: int | None = None
    target_modules: tuple[str, ...] | str | None = None
    replacements: Mapping[str, Array] = field(default_factory=dict)
    base_model: Json | None = None
    producer: Json | None = None
    labels: tuple[str, ...] | None = None
    origin: Json | None = None
    metadata: Json | None = None
    version: str = "1.0"
    extensions: Json = field(default_factory=dict)
    extension_tensors: Mapping[str, Array] = field(default_factory=dict)
    _sets: dict[str, EntrySet] = field(init=False, repr=False)
    _targets: dict[str, Target] = field(init=False, repr=False)

    def __post_init__(self) -> None:
        """Index the entry sets and targets by name."""
        object.__setattr__(self, "_sets", {s.id: s for s in self.entry_sets})
        object.__setattr__(self, "_targets", {t.name: t for t in self.targets})

    def entry_set(self, target: Target) -> EntrySet:
        """Returns the entry set of `target`.

        Raises:
            KeyError: The adapter has no such set; a loaded adapter always has.
        """
        return self._sets[target.entries]

    def target(self, name: str) -> Target:
        """Returns the target called `name`.

        Raises:
            TargetNotFoundError: There is none.
        """
        found = self._targets.get(name)
        if found is None:
            near = difflib.get_close_matches(name, self._targets)
            advice = f"near to it: {', '.join(near)}" if near else None
            problem = "the adapter has no target of this name"
            raise TargetNotFoundError(Violation("E-TARGET-NOT-FOUND", name, problem, advice=advice))
        return found

    def coefficients(self, target: Target) -> Array:
        """Returns the (n,) coefficients of `target` in their stored dtype."""
        row: Array = self.entry_set(target).coefficients[target.row]
        return row

    def alpha_of(self, target: Target) -> float:
        """Returns the scale of `target`: its own, or the adapter's."""
        return self.alpha if target.alpha is None else target.alpha

    def __repr__(self) -> str:
        """Short, as in Adapter<dft2, 12 targets, 12000 coefficients, alpha=150.0>."""
        total = sum(s.coefficients.size for s in self.entry_sets)
        return (
            f"Adapter<{self.transform}, {len(self.targets)} targets, "
            f"{total} coefficients, alpha={self.alpha}>"
        )


def read_only(array: Array) -> Array:
    """Returns a read-only view of `array`."""
    view = np.asarray(array).view()
    view.flags.writeable = False
    return view


def _freeze(record: object, *names: str) -> None:
    for name in names:
        object.__setattr__(record, name, read_only(getattr(record, name)))
