"""Replacements: whole tensors trained beside the adapter, and the uses that they take over."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from fourier_converters.mapping import Map
from fourier_converters.naming import same_module
from fourier_converters.onnx.matching import Candidate, Candidates, by_map
from fourier_converters.onnx.tensors import FLOATS
from fourier_converters.onnx.uses import Use
from fourier_format.adapter import Adapter, Array
from fourier_format.dtypes import dtype_name
from fourier_format.errors import FourierFormatError, TargetNotFoundError, Violation


@dataclass(frozen=True, slots=True, eq=False)
class Replaced:
    """Where one replacement goes.

    Attributes:
        name: Its name in the adapter.
        values: Its values as the framework stores them.
        uses: The uses that it takes over.
        evidence: What says so.
        added: Whether it is a bias that the graph lacks: exporters drop biases of zeros. The uses
            are then those of the weight.
    """

    name: str
    values: Array
    uses: tuple[Candidate, ...]
    evidence: str
    added: bool = False


def match_replacements(adapter: Adapter, candidates: Candidates, mapping: Map) -> list[Replaced]:
    """Returns where every replacement goes that the map does not skip.

    Raises:
        TargetNotFoundError: E-REPLACEMENT-NOT-FOUND or E-REPLACEMENT-SHAPE, for all at once.
    """
    found: list[Replaced] = []
    violations: list[Violation] = []
    for name, values in adapter.replacements.items():
        if mapping.replacement(name).skip:
            continue
        try:
            found.append(_match(name, values, candidates, mapping))
        except FourierFormatError as error:
            violations.extend(error.violations)
    if violations:
        raise TargetNotFoundError(violations)
    return found


def stored_values(values: Array, name: str, use: Use) -> Array | None:
    """Returns a replacement's `values` as the initializer of `use` stores them, None if unlike.

    A tensor that kept its name is stored as the framework stores it. A renamed one of a linear
    operator is in the use's layout, and the framework's is (out, in).
    """
    same_storage = use.initializer == name or use.initializer.endswith(f".{name}")
    swapped = use.layout == "in_out" and not same_storage and values.ndim == 2
    placed = values.T if swapped else values
    if placed.shape == use.shape:
        return placed
    one_off = values.T if not swapped and values.ndim == 2 else values
    return one_off if use.layout is not None and one_off.shape == use.shape else None


def _match(name: str, values: Array, candidates: Candidates, mapping: Map) -> Replaced:
    if dtype_name(values.dtype) not in FLOATS:
        problem = "a replacement that is not of floating point"
        raise TargetNotFoundError(
            Violation("E-REPLACEMENT-NOT-FOUND", name, problem, str(values.dtype))
        )
    module, _, role = name.rpartition(".")
    entry = mapping.replacement(name)
    pool = [c for c in candidates.all if c.use.role == role]
    if entry.initializer is not None or entry.node is not None:
        uses, source = by_map(entry, pool, candidates.model), "map"
    else:
        uses, source = _by_module(name, module, pool, candidates)
    fitting = [c for c in uses if stored_values(values, name, c.use) is not None]
    if not uses:
        return _dropped_bias(name, values, module, role, candidates)
    if not fitting:
        raise _wrong_shape(name, values, uses)
    return Replaced(name, values, tuple(fitting), source)


def _dropped_bias(
    name: str, values: Array, module: str, role: str, candidates: Candidates
) -> Replaced:
    """Returns the place of a bias that the exporter dropped because it was zero."""
    uses, source = candidates.named(module, candidates.linear())
    if role != "bias" or source is None:
        raise _not_found(name)
    shape = uses[0].use.canonical_shape
    if shape is None or values.shape != shape[:1]:
        raise _wrong_shape(name, values, uses)
    return Replaced(name, values, tuple(uses), source, added=True)


def _by_module(
    name: str, module: str, pool: Sequence[Candidate], candidates: Candidates
) -> tuple[list[Candidate], str]:
    """Nodes first: equal tensors share one initializer, whose name is then another module's."""
    uses, source = candidates.named(module, pool)
    if uses and source is not None:
        return uses, source
    initializers = {c.use.initializer for c in pool}
    exact = same_module(name, initializers)
    return [c for c in pool if c.use.initializer in exact], "initializer name"


def _not_found(name: str) -> TargetNotFoundError:
    return TargetNotFoundError(
        Violation(
            "E-REPLACEMENT-NOT-FOUND",
            name,
            "nothing in the graph reads a tensor of this name",
            advice="export the base with the head that was trained, or leave this tensor out with "
            '--map and {"replacements": {"' + name + '": {"skip": true}}}',
        )
    )


def _wrong_shape(name: str, values: Array, uses: Sequence[Candidate]) -> TargetNotFoundError:
    return TargetNotFoundError(
        Violation(
            "E-REPLACEMENT-SHAPE",
            name,
            f"the graph's tensor {uses[0].use.initializer} has another shape",
            got=f"{values.shape} in the adapter",
            expected=f"{uses[0].use.shape} in the graph",
            advice="export the base with as many labels as the head was trained for",
        )
    )
