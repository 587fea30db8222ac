"""Branches: an adapter beside a quantised weight, exact, in full precision.

y = Q(x) becomes y = Q(x) + x delta^T. The codes stay as they are: a delta is mostly smaller than
one quantisation step. Small deltas are stored as matrices. Where the columns and rows that all
targets of an entry set share (cosines and sines, or wavelets) take less room, the branch computes
with those instead, for dft2:

    x delta^T = ([x C_in | x S_in] * [c | -c]) [C_out | S_out]^T              (transforms.Factors)
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from typing import Any, Final, NamedTuple

import numpy as np

from fourier_converters.onnx import surgery
from fourier_converters.onnx.candidates import Candidates
from fourier_converters.onnx.merging import Edit, Made, rebound, refuse_nonfinite
from fourier_converters.onnx.model import Model, Read, Value
from fourier_converters.onnx.operators import MICROSOFT, ONNX
from fourier_converters.onnx.packed import divided
from fourier_converters.onnx.protos import attribute
from fourier_converters.onnx.replacing import placed
from fourier_converters.onnx.stores import Store
from fourier_converters.onnx.tensors import element_type
from fourier_format.adapter import Adapter, Array, EntrySet, Target
from fourier_format.errors import UnsupportedError, Violation
from fourier_format.transforms import Factors, delta_weight, named

_SUMMED: Final = frozenset(
    {"MatMul", "Gemm", "FusedMatMul", "Einsum", "Conv", "Gather", "MatMulNBits", "MatMulInteger"}
    | {"MatMulIntegerToFloat", "DynamicQuantizeMatMul"}
)
"""Operators whose output is linear in the weight, so that a term can be added to it."""
_CLONED: Final = frozenset({"Einsum", "Conv", "Gather"})
"""Those of them whose branch is the same operator again; their features are no last axis."""
_OWN_INPUT: Final = frozenset({"MatMulInteger", "MatMulIntegerToFloat"})


@dataclass(frozen=True, slots=True, eq=False)
class Branch:
    """What is added to the output of one node.

    Attributes:
        read: The node's input that reads the quantised weight.
        edits: One or, of a packed weight, several; their rows are disjoint.
        x: What the node multiplies the weight with, in floating point.
        y: The value to which the branch is added.
    """

    read: Read
    edits: tuple[Edit, ...]
    x: Value
    y: Value


def plan_branches(edits: Sequence[Edit], model: Model, name: str = "") -> list[Branch]:
    """Returns the branches of edits; `name` says whose they are where no edit does.

    Raises:
        UnsupportedError: E-CONVERSION-UNSUPPORTED: a node whose output is no sum, named.
    """
    by_read: dict[Read, list[Edit]] = defaultdict(list)
    for edit in edits:
        by_read[edit.candidate.use.read].append(edit)
    planned = [_plan(model, read, tuple(members), name) for read, members in by_read.items()]
    sums = {branch.y for branch in planned}
    return [replace(branch, x=_summed_input(model, branch, sums)) for branch in planned]


def _summed_input(model: Model, branch: Branch, sums: set[Value]) -> Value:
    """Returns x: what the node itself reads where another branch is added to that.

    A branch behind the pair that quantises an output is not in what stands before the pair.
    """
    own = _operand(model, branch.read, model.node(branch.read))
    return own if own in sums else branch.x


def _operand(model: Model, read: Read, node: Any) -> Value:
    """Returns what the node multiplies the weight with, as it reads it."""
    return model.resolve(read.scope, node.input[1 - read.slot if read.slot < 2 else 0])


def _plan(model: Model, read: Read, edits: tuple[Edit, ...], name: str) -> Branch:
    node = model.node(read)
    x = _float_input(model, read, node)
    rows = any(edit.candidate.rows for edit in edits) and node.op_type in _CLONED
    scaled = attribute(node, "alpha", 1.0) != 1.0
    if node.op_type not in _SUMMED or x is None or rows or scaled:
        target = edits[0].target or edits[0].replaced
        part = "rows of " if rows else ""
        problem = f"a branch cannot be added to {part}{node.op_type} {node.name!r}"
        advice = "quantise a graph in which this layer is a MatMul of its own"
        raise UnsupportedError(
            Violation(
                "E-CONVERSION-UNSUPPORTED",
                target.name if target else name,
                problem,
                advice=advice,
            )
        )
    return Branch(read, edits, x, product_of(model, read))


def product_of(model: Model, read: Read) -> Value:
    """Returns the floating-point value in which the product of a quantised weight is whole.

    After Cast and Mul for an integer MatMul; behind the pair that quantises the output, if nothing
    else reads it, so that the branch is not rounded with it.
    """
    node = model.node(read)
    value = Value(read.scope, node.output[0])
    steps = ["Cast", "Mul"] if node.op_type == "MatMulInteger" else []
    for step in [*steps, "QuantizeLinear", "DequantizeLinear"]:
        readers = model.reads(value)
        following = model.node(readers[0]) if len(readers) == 1 else None
        domains = ONNX if step in {"Cast", "Mul"} else ONNX | {MICROSOFT}
        fits = following is not None and following.op_type == step and following.domain in domains
        seen = model.is_output(value) or model.is_result(value)
        if following is None or not fits or seen:
            return value if step != "DequantizeLinear" else _before(model, value)
        value = Value(readers[0].scope, following.output[0])
    return value


def _before(model: Model, value: Value) -> Value:
    """A QuantizeLinear whose result something other than DequantizeLinear reads: stay before it."""
    producer = model.producer(value)
    return model.resolve(value.scope, producer.input[0])


def _float_input(model: Model, read: Read, node: Any) -> Value | None:
    value = _operand(model, read, node)
    quantised = node.op_type in _OWN_INPUT
    producer = model.producer(value)
    if producer is not None and producer.op_type == "DequantizeLinear":
        source = model.producer(model.resolve(value.scope, producer.input[0]))
        if source is not None and source.op_type == "QuantizeLinear":
            return model.resolve(value.scope, source.input[0])
    if quantised:
        known = producer is not None and producer.op_type in {
            "DynamicQuantizeLinear",
            "QuantizeLinear",
        }
        return model.resolve(value.scope, producer.input[0]) if known else None
    return value


class _Basis(NamedTuple):
    """The stored factors of an entry set.

    Attributes:
        inside: The name of the (in, r n) matrix.
        outside: The name of the (r n, out) matrix.
        signs: +1 or -1 for each of the r terms of an entry.
        cells: What alpha is divided by.
    """

    inside: str
    outside: str
    signs: tuple[int, ...]
    cells: int


@dataclass(slots=True)
class BranchWriter:
    """Puts branches into a model; what entry sets share is stored once.

    Attributes:
        model: The model.
        adapter: The adapter.
        candidates: Reads what replaced weights differ from.
        store: Takes the new values.
        factored: The ids of the entry sets whose branches compute with factors.
        made: How the values that were stored are made.
    """

    model: Model
    adapter: Adapter
    candidates: Candidates
    store: Store
    factored: frozenset[str]
    made: list[Made] = field(default_factory=list)
    _bases: dict[str, _Basis] = field(default_factory=dict)

    def add(self, branch: Branch) -> None:
        """Add one branch to the graph."""
        node = self.model.node(branch.read)
        dtype = branch.edits[0].candidate.use.origin.operand_dtype
        nodes: list[Any] = []
        x = branch.x.name
        if dtype != "F32" and branch.edits[0].candidate.use.kind != "embedding":
            x = self._append(nodes, "Cast", [x], f"{x}.wide", to=element_type("F32"))
        bare = f"{branch.y.name}.branch"
        terms = [self._term(edit, node, x, nodes, bare) for edit in branch.edits]
        if dtype != "F32":
            to = element_type(dtype)
            terms = [self._append(nodes, "Cast", [term], bare, to=to) for term in terms]
        if branch.edits[0].candidate.rows is None:
            (term,) = terms
            surgery.recompute(
                self.model,
                branch.y,
                lambda old: [*nodes, surgery.summed(self.model, old, term, branch.y.name)],
            )
        else:
            surgery.recompute(
                self.model, branch.y, lambda old: [*nodes, *self._parts(branch, terms, old)]
            )

    def _term(self, edit: Edit, node: Any, x: str, nodes: list[Any], stem: str) -> str:
        """Returns the name of x delta^T of one edit."""
        target = edit.target
        if target is not None and edit.replaced is None and target.entries in self.factored:
            return self._factored(target, x, nodes, stem)
        use = edit.candidate.use
        name = self._store(partial(_operand_of, edit, self.candidates), f"{stem}.delta")
        if _is_matrix(edit):
            return self._append(nodes, "MatMul", [x, name], stem)
        clone = type(node)()
        clone.CopyFrom(node)
        clone.name = clone.output[0] = self.model.fresh_name(stem)
        slot = use.read.slot
        del clone.input[2:]
        clone.input[slot] = name
        if use.kind != "embedding":
            clone.input[1 - slot] = x
        nodes.append(clone)
        return str(clone.output[0])

    def _factored(self, target: Target, x: str, nodes: list[Any], stem: str) -> str:
        inside, outside, signs, cells = self._basis(self.adapter.entry_set(target))
        signed = partial(_signed, target.name, signs, cells)
        spectrum = self._append(nodes, "MatMul", [x, inside], f"{stem}.spectrum")
        coefficients = self._store(signed, f"{stem}.coefficients")
        changed = self._append(nodes, "Mul", [spectrum, coefficients], f"{stem}.scaled")
        return self._append(nodes, "MatMul", [changed, outside], stem)

    def _basis(self, entries: EntrySet) -> _Basis:
        """Returns what all targets of the set share; it is stored once."""
        if entries.id not in self._bases:
            made: Factors = named(self.adapter.transform).factors(entries.entries, entries.shape)
            for side, values in (("in", made.in_), ("out", made.out.T)):
                make = partial(_factor, entries.id, side)
                self._store(make, f"fourier.{entries.id}.{side}", values, entries)
            inside, outside = (made.tensor.name for made in self.made[-2:])
            self._bases[entries.id] = _Basis(inside, outside, made.signs, made.cells)
        return self._bases[entries.id]

    def _parts(self, branch: Branch, terms: Sequence[str], old: str) -> list[Any]:
        """Returns the nodes that add terms to their rows of a packed product."""
        from onnx import helper

        edits = sorted(
            zip(branch.edits, terms, strict=True), key=lambda p: p[0].candidate.rows or ()
        )
        whole = branch.edits[0].candidate.use.canonical_shape or (0, 0)
        rows = [edit.candidate.rows or (0, whole[0]) for edit, _ in edits]
        sizes, owners = divided(rows, whole[0])
        names = [self.model.fresh_name(f"{old}.part") for _ in sizes]
        split = np.array(sizes, np.int64)
        old_opset = surgery.opset(self.model) < 13
        inputs = [old] if old_opset else [old, self._constant(split, f"{old}.sizes")]
        given = {"split": split.tolist()} if old_opset else {}
        nodes = [
            helper.make_node("Split", inputs, names, name=f"{names[0]}.split", axis=-1, **given)
        ]
        pieces = list(names)
        for at, owner in owners.items():
            pieces[at] = self.model.fresh_name(f"{names[at]}.sum")
            nodes.append(surgery.summed(self.model, names[at], edits[owner][1], pieces[at]))
        y = branch.y.name
        joined = self.model.fresh_name(f"{y}.whole")
        return [*nodes, helper.make_node("Concat", pieces, [y], name=joined, axis=-1)]

    def _append(
        self, nodes: list[Any], operator: str, inputs: Sequence[str], stem: str, **attributes: Any
    ) -> str:
        node = surgery.new_node(self.model, operator, inputs, stem, **attributes)
        nodes.append(node)
        return str(node.output[0])

    def _store(
        self,
        make: Callable[[Adapter], Array],
        stem: str,
        values: Array | None = None,
        entries: EntrySet | None = None,
    ) -> str:
        """Store what `make` gives for the adapter, or `values` where those are known to be it."""
        make = partial(_finite, make, stem)
        values = make(self.adapter) if values is None else np.ascontiguousarray(values)
        tensor = surgery.new_initializer(self.model, stem, "F32", values.shape)
        self.store.add(tensor, values)
        self.made.append(Made(tensor, make, entries))
        return str(tensor.name)

    def _constant(self, values: Array, stem: str) -> str:
        tensor = surgery.new_initializer(self.model, stem, "I64", values.shape)
        self.store.add(tensor, values)
        return str(tensor.name)


def _finite(make: Callable[[Adapter], Array], stem: str, adapter: Adapter) -> Array:
    """Returns what `make` gives, which must be finite."""
    values = make(adapter)
    refuse_nonfinite(values, stem)
    return values


def _is_matrix(edit: Edit) -> bool:
    """Whether the branch multiplies by the delta's transpose; else it is the operator again."""
    use = edit.candidate.use
    return use.kind == "linear" and use.operator != "Einsum"


def _operand_of(edit: Edit, candidates: Candidates, adapter: Adapter) -> Array:
    """Returns a dense branch's second operand for an adapter, float32."""
    values = _delta(rebound(edit, adapter), adapter, candidates)  # (out, in)
    use = edit.candidate.use
    if _is_matrix(edit):
        values = values.T
    elif use.operand is not None:
        values = use.operand.invert(values)
    return np.ascontiguousarray(values)


def _delta(edit: Edit, adapter: Adapter, candidates: Candidates) -> Array:
    """Returns (out, in) float32: what the exact weight has more than the quantised one."""
    if edit.target is not None and edit.replaced is None:
        return delta_weight(adapter, edit.target)
    values = placed(edit.replaced, edit.candidate) if edit.replaced is not None else None
    difference = -candidates.values(edit.candidate).astype(np.float64)
    if values is not None:
        difference += values.astype(np.float64)
    if edit.target is not None:
        difference += delta_weight(adapter, edit.target, np.float64)
    return difference.astype(np.float32)


def _signed(name: str, signs: Sequence[int], cells: int, adapter: Adapter) -> Array:
    """Returns a target's coefficients, scaled and repeated with each term's sign, (r n,)."""
    target = adapter.target(name)
    scaled = adapter.coefficients(target).astype(np.float64) * (adapter.alpha_of(target) / cells)
    return np.concatenate([sign * scaled for sign in signs]).astype(np.float32)


def _factor(id_: str, side: str, adapter: Adapter) -> Array:
    """Returns one of the factors of an entry set, as `_Basis` has them."""
    entries = next(entries for entries in adapter.entry_sets if entries.id == id_)
    factors: Factors = named(adapter.transform).factors(entries.entries, entries.shape)
    return np.ascontiguousarray(factors.in_ if side == "in" else factors.out.T)


def choose_factored(branches: Sequence[Branch], adapter: Adapter) -> frozenset[str]:
    """Returns the entry sets whose factors take less room than their deltas."""
    terms = named(adapter.transform).terms
    dense: dict[str, int] = defaultdict(int)
    for branch in branches:
        for edit in branch.edits:
            linear = edit.candidate.use.kind == "linear"
            if edit.target is not None and linear and edit.candidate.use.operator != "Einsum":
                dense[edit.target.entries] += edit.target.shape[0] * edit.target.shape[1]
    sets = {entries.id: entries for entries in adapter.entry_sets}
    return frozenset(
        id_ for id_, size in dense.items() if sum(sets[id_].shape) * terms * sets[id_].count < size
    )
