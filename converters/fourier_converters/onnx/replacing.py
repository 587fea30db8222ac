"""Replacements: whole tensors trained beside the adapter, and the uses that they take over."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Final

from fourier_converters.layouts import framework_layout
from fourier_converters.mapping import Map, MapEntry
from fourier_converters.onnx import evidence
from fourier_converters.onnx.candidates import Candidate, Candidates, ambiguous, by_map
from fourier_converters.onnx.model import Model, Value
from fourier_converters.onnx.operators import role
from fourier_converters.onnx.protos import attribute
from fourier_converters.onnx.tensors import FLOATS
from fourier_converters.onnx.tracing import trace
from fourier_converters.onnx.uses import Use
from fourier_format.adapter import Adapter, Array
from fourier_format.dtypes import dtype_name
from fourier_format.errors import FourierFormatError, TargetNotFoundError, Violation

AS_STORED: Final = "as stored"
PARAMETER: Final = "parameter"
"""The role of what some node reads that is neither a weight nor a bias of a known operator."""
_KERAS_ROLES: Final = {"kernel": "weight", "embeddings": "weight", "bias": "bias"}


@dataclass(frozen=True, slots=True, eq=False)
class Replaced:
    """Where one replacement goes.

    Attributes:
        name: Its name in the adapter.
        values: Its values as the framework stores them.
        uses: The uses that it takes over.
        evidence: What was done, and what says so.
        layout: How the framework stores a linear operator's weight, AS_STORED where any weight
            has the axes of the graph's own tensor; None where the shape tells.
        added: Whether it is a bias that the graph lacks: exporters drop biases of zeros. The uses
            are then those of the weight.
    """

    name: str
    values: Array
    uses: tuple[Candidate, ...]
    evidence: str
    layout: str | None = None
    added: bool = False


def match_replacements(adapter: Adapter, candidates: Candidates, mapping: Map) -> list[Replaced]:
    """Returns where every replacement goes that the map does not skip.

    Raises:
        TargetNotFoundError: E-REPLACEMENT-NOT-FOUND or E-REPLACEMENT-SHAPE, for all at once.
    """
    found: list[Replaced] = []
    violations: list[Violation] = []
    for name in adapter.replacements:
        entry = mapping.replacement(name)
        if entry.skip:
            continue
        try:
            found.append(match_replacement(name, adapter, candidates, entry))
        except FourierFormatError as error:
            violations.extend(error.violations)
    if violations:
        raise TargetNotFoundError(violations)
    return found


def placed(replaced: Replaced, candidate: Candidate) -> Array | None:
    """Returns a replacement's values as the canonical matrix, or the rows of it, of a use.

    Of a parameter that is no matrix, as the node reads it. None where the shapes do not fit.
    """
    return _placed(replaced.values, replaced.layout, candidate)


def _placed(values: Array, layout: str | None, candidate: Candidate) -> Array | None:
    use = candidate.use
    if layout == AS_STORED:
        return use.view.apply(values) if values.shape == use.origin.shape else None
    if use.operand is None:
        return values if values.shape == _read_shape(candidate) else None
    if use.kind != "linear":
        return use.operand.apply(values) if values.shape == use.operand.shape else None
    if values.ndim != 2:
        return None
    if layout is None:
        fits = (m for m in (values, values.T) if m.shape == candidate.shape)
        return next(fits, None)
    matrix = values.T if layout == "in_out" else values
    return matrix if matrix.shape == candidate.shape else None


def _read_shape(candidate: Candidate) -> tuple[int, ...]:
    """The shape in which a node reads a parameter, of a packed one its own elements' alone."""
    shape = candidate.use.origin.view.result
    if candidate.rows is None:
        return shape
    return (candidate.rows[1] - candidate.rows[0], *shape[1:])


def match_replacement(
    name: str, adapter: Adapter, candidates: Candidates, entry: MapEntry
) -> Replaced:
    """Returns where one replacement goes; raises as `match_replacements`."""
    values = adapter.replacements[name]
    if dtype_name(values.dtype) not in FLOATS:
        raise _not_found(name, f"a replacement of {values.dtype}, and graphs keep only floats")
    module, _, parameter = name.rpartition(".")
    if entry.initializers or entry.nodes:
        if _is_of_keras(name):
            parameter = _KERAS_ROLES.get(name.rpartition("/")[2], "")
        found = by_map(entry, candidates.all, candidates.model)
        meant = [c for c in found if c.use.role == parameter] or found  # a node may read several
        uses, source = [c for c in meant if c.holds_its_rows], "map"
        if not uses:
            raise _not_found(name, "the map names nothing that reads a parameter")
    elif _is_of_keras(name):
        return _of_keras(name, values, candidates)
    else:
        scales = {c.use.quantized.scale for c in candidates.all if c.use.quantized is not None}
        pool = [
            c
            for c in candidates.all
            if c.use.role == parameter
            and c.use.origin.value not in scales  # of codes; it has the name of the weight
            and _could_hold(values, c.use)
        ]
        uses = candidates.named(module, pool)
        if not uses:
            return _dropped_bias(name, values, candidates)
        source = str(uses[0].source)
    layout = _framework_layout(name, values, adapter, entry, uses)
    if any(_placed(values, layout, c) is None for c in uses):
        raise _wrong_shape(name, values, uses)
    if not candidates.are_one_weight(uses):
        raise ambiguous(name, uses)
    return Replaced(name, values, tuple(uses), f"replaced, by {source}", layout)


def _is_of_keras(name: str) -> bool:
    """Whether Keras gave a variable this name: "logits/kernel", and never "logits.weight"."""
    return "/" in name.rpartition(".")[2]


def _of_keras(name: str, values: Array, candidates: Candidates) -> Replaced:
    """Returns where a variable of Keras goes: what `export_base` gave its path, and its axes."""
    uses = [c for c in candidates.all if c.use.initializer == name and c.rows is None]
    uses = uses or list(_reads_of(name, candidates.model))
    if not uses:
        raise _not_found(name, "nothing in the graph reads a tensor of this name")
    if any(_placed(values, AS_STORED, c) is None for c in uses):
        raise _wrong_shape(name, values, uses, stored=True)
    return Replaced(name, values, tuple(uses), "replaced, by initializer name", AS_STORED)


def _reads_of(name: str, model: Model) -> Iterator[Candidate]:
    """Yields the reads of an initializer by nodes of any sort: a normalisation taken apart."""
    value = Value(0, name)
    origin = trace(model, value) if model.tensor(value) is not None else None
    if origin is not None:
        for read in model.reads(value):
            use = Use(read, model.node(read).op_type, PARAMETER, origin, None, None)
            yield Candidate(use, None, None)


def _could_hold(values: Array, use: Use) -> bool:
    """A scalar of the module's arithmetic, an epsilon or a scale, is no parameter."""
    return math.prod(use.origin.shape) > 1 or values.size == 1


def _framework_layout(
    name: str, values: Array, adapter: Adapter, entry: MapEntry, uses: Sequence[Candidate]
) -> str | None:
    """Returns how the framework stores a linear weight, None where only the shape can tell.

    Raises:
        TargetNotFoundError: E-ORIENTATION-UNKNOWN: the weight is square, and nothing tells.
    """
    if all(c.use.kind != "linear" for c in uses):
        return None
    model_type = (adapter.base_model or {}).get("model_type")
    module = name.rpartition(".")[0]
    known = "in_out" if _is_of_keras(name) else framework_layout(module, {str(model_type)})
    layout = entry.layout or known
    if layout is None and values.shape[0] == values.shape[-1]:
        problem = "a square weight, and nothing says how its framework stores it"
        advice = 'add "layout": "out_in" (nn.Linear) or "in_out" (Conv1D) for it with --map'
        raise TargetNotFoundError(Violation("E-ORIENTATION-UNKNOWN", name, problem, advice=advice))
    return layout


def _dropped_bias(name: str, values: Array, candidates: Candidates) -> Replaced:
    """Returns the place of a bias that the exporter dropped because it was zero.

    Raises:
        TargetNotFoundError: It is no bias, the layer is one of several in a packed weight, or its
            output has something added already.
    """
    module, _, parameter = name.rpartition(".")
    uses = candidates.named(module, candidates.of_kind("linear"))
    modules = {c.module for c in uses}
    if (
        parameter != "bias"
        or len(modules) != 1
        or any(c.rows is not None or c.use.operator == "Attention" for c in uses)
        or any(_has_bias(candidates.model, c) for c in uses)
        or any(_is_scaled(candidates.model, c) for c in uses)
    ):
        raise _not_found(name, "nothing in the graph reads a tensor of this name")
    shape = uses[0].shape
    if shape is None or values.shape != shape[:1]:
        raise _wrong_shape(name, values, uses)
    return Replaced(name, values, tuple(uses), f"added, by {uses[0].source}", None, added=True)


def _is_scaled(model: Model, candidate: Candidate) -> bool:
    """Whether the node multiplies its product by a factor, which a bias would need as well."""
    return bool(attribute(model.node(candidate.use.read), "alpha", 1.0) != 1.0)


def _has_bias(model: Model, candidate: Candidate) -> bool:
    """Whether a constant is added to what a linear node computes."""
    read = candidate.use.read
    node = model.node(read)
    third = len(node.input) > 2 and bool(node.input[2])  # a Gemm's, scaled by beta, has no role
    if (third and node.op_type in {"Gemm", "FusedGemm"}) or any(
        role(node, slot) == "bias" and name for slot, name in enumerate(node.input)
    ):
        return True
    for other in evidence.reads_after_steps(model, Value(read.scope, node.output[0])):
        reader = model.node(other)
        names = [name for slot, name in enumerate(reader.input) if role(reader, slot) == "bias"]
        if any(name and trace(model, model.resolve(other.scope, name)) for name in names):
            return True
    return False


def _not_found(name: str, problem: str) -> TargetNotFoundError:
    return TargetNotFoundError(
        Violation(
            "E-REPLACEMENT-NOT-FOUND",
            name,
            problem,
            advice="export the base with the head that was trained, or leave this tensor out with "
            '--map and {"replacements": {"' + name + '": {"skip": true}}}',
        )
    )


def _wrong_shape(
    name: str, values: Array, uses: Sequence[Candidate], *, stored: bool = False
) -> TargetNotFoundError:
    shapes = {c: c.shape if c.use.kind == "linear" else _read_shape(c) for c in uses}
    if stored:
        shapes = {c: c.use.origin.shape for c in uses}
    unlike = next((c for c, shape in shapes.items() if shape != values.shape), uses[0])
    return TargetNotFoundError(
        Violation(
            "E-REPLACEMENT-SHAPE",
            name,
            f"the graph's tensor {unlike.place} has another shape",
            got=f"{values.shape} in the adapter",
            expected=f"{shapes[unlike]} in the graph",
            advice="export the base with as many labels as the head was trained for",
        )
    )
