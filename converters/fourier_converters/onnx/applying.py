"""A plan for a model, and its execution through a store: the one place where all edits meet."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import Any, Literal

import numpy as np

from fourier_converters.onnx import surgery
from fourier_converters.onnx.branches import (
    Branch,
    BranchWriter,
    choose_factored,
    plan_branches,
    product_of,
)
from fourier_converters.onnx.candidates import Candidates
from fourier_converters.onnx.matching import Match
from fourier_converters.onnx.merging import (
    Change,
    Edit,
    Made,
    compute,
    plan_changes,
    plan_edits,
    values_for,
)
from fourier_converters.onnx.model import Model, Value
from fourier_converters.onnx.replacing import Replaced
from fourier_converters.onnx.requantizing import refuse_shared, requantize
from fourier_converters.onnx.stores import Store
from fourier_format.adapter import Adapter, Array
from fourier_format.dtypes import DTYPES
from fourier_format.errors import UnsupportedError, Violation

QuantizedMode = Literal["live", "requantize", "refuse"]

Progress = Callable[[str], None]
"""Told what is being worked on."""


@dataclass(frozen=True, slots=True, eq=False)
class Plan:
    """Everything that is going to be done to a model.

    Attributes:
        changes: Tensors that get new values.
        branches: Terms beside quantised weights.
        requantized: The edits of each quantised weight that gets new codes.
        added: Biases that the graph lacks.
    """

    changes: tuple[Change, ...]
    branches: tuple[Branch, ...]
    requantized: tuple[tuple[Edit, ...], ...]
    added: tuple[Replaced, ...]


@dataclass(slots=True)
class Outcome:
    """What was measured on the way, by target.

    Attributes:
        sizes: Frobenius norm of the delta weight over the weight's.
        survives: The share of the change that requantised codes carry.
        made: How the values that were stored are made for another adapter of the same layout;
            requantised codes are not among them.
    """

    sizes: dict[str, float] = field(default_factory=dict)
    survives: dict[str, float] = field(default_factory=dict)
    made: list[Made] = field(default_factory=list)


def make_plan(
    matches: Sequence[Match], replaced: Sequence[Replaced], model: Model, mode: QuantizedMode
) -> Plan:
    """Returns the plan for all that was found.

    Raises:
        UnsupportedError: A quantised weight, and `mode` refuses them or cannot do it.
        TargetNotFoundError: E-USE-CLAIMED.
    """
    edits = plan_edits(matches, replaced)
    quantised = [e for e in edits if e.candidate.use.quantized and e.candidate.use.operand]
    plain = [e for e in edits if not (e.candidate.use.quantized and e.candidate.use.operand)]
    if quantised and mode == "refuse":
        raise UnsupportedError([_refusal(edit) for edit in quantised])
    branches: list[Branch] = []
    groups: dict[Value, list[Edit]] = defaultdict(list)
    if mode == "requantize":
        refuse_shared(quantised, model)
        for edit in quantised:
            groups[edit.candidate.use.value].append(edit)
    else:
        branches = plan_branches(quantised, model)
    return Plan(
        changes=tuple(plan_changes(plain, model)),
        branches=tuple(branches),
        requantized=tuple(_distinct(group) for group in groups.values()),
        added=tuple(r for r in replaced if r.added),
    )


def apply(
    plan: Plan, adapter: Adapter, candidates: Candidates, store: Store, progress: Progress
) -> Outcome:
    """Do all of `plan` to the model of `candidates`; one tensor's new values are held at a time.

    Raises:
        UnsupportedError: A merged weight is not finite.
    """
    model, outcome = candidates.model, Outcome()
    for change in plan.changes:
        progress(change.use.initializer)
        merged = compute(change, adapter, candidates)
        outcome.sizes.update(merged.sizes)
        tensor = _write(change, merged.values, model, store)
        outcome.made.append(Made(tensor, partial(values_for, change, candidates)))
        del merged
        model.reader.files.release()
    for group in plan.requantized:
        progress(group[0].candidate.use.initializer)
        with np.errstate(over="ignore", invalid="ignore"):  # refused where it is stored
            outcome.survives.update(requantize(group, adapter, candidates, store).survives)
        model.reader.files.release()
    factored = choose_factored(plan.branches, adapter)
    writer = BranchWriter(model, adapter, candidates, store, factored)
    for branch in plan.branches:
        progress(branch.edits[0].candidate.use.initializer)
        with np.errstate(over="ignore", invalid="ignore"):
            writer.add(branch)
        model.reader.files.release()
    outcome.made += writer.made
    outcome.made += [_add_bias(model, bias, store) for bias in plan.added]
    surgery.drop_unread(model)
    return outcome


def _write(change: Change, values: Array, model: Model, store: Store) -> Any:
    """Store the values of a change; returns the tensor that holds them."""
    value = change.use.value
    tensor = model.tensor(value)
    if change.in_place:
        store.replace(tensor, values)
        return tensor
    new = surgery.new_initializer(model, f"{value.name}.merged", change.dtype, values.shape)
    store.add(new, values)
    for read in change.reads:
        model.node(read).input[read.slot] = new.name
    return new


def _add_bias(model: Model, bias: Replaced, store: Store) -> Made:
    """Give the linear nodes of `bias` the bias that they lack: Gemm's third input, or an Add.

    An Add, too, beside a quantised weight, where it can stand behind the output's own rounding.
    """
    first = bias.uses[0].use
    dtype = first.origin.operand_dtype
    tensor = surgery.new_initializer(model, bias.name, dtype, bias.values.shape)
    make = partial(_bias_of, bias.name, dtype)
    store.add(tensor, bias.values.astype(DTYPES[dtype]))
    for candidate in bias.uses:
        read = candidate.use.read
        node = model.node(read)
        quantized = candidate.use.quantized is not None
        if node.op_type in {"Gemm", "FusedGemm"} and not quantized:
            del node.input[2:]
            node.input.append(tensor.name)
            surgery.drop_attribute(node, "beta")  # without a C it may be anything
        else:
            value = product_of(model, read) if quantized else Value(read.scope, node.output[0])
            surgery.add_to(model, value, tensor.name)
    return Made(tensor, make)


def _bias_of(name: str, dtype: str, adapter: Adapter) -> Array:
    """Returns the values of an added bias."""
    return adapter.replacements[name].astype(DTYPES[dtype])


def _distinct(edits: Sequence[Edit]) -> tuple[Edit, ...]:
    """Returns one edit for each part of a weight that several nodes read alike."""
    return tuple({edit.key: edit for edit in edits}.values())


def _refusal(edit: Edit) -> Violation:
    use = edit.candidate.use
    name = edit.target.name if edit.target else edit.replaced.name if edit.replaced else ""
    scheme = use.quantized.scheme if use.quantized else ""
    return Violation(
        "E-CONVERSION-UNSUPPORTED",
        name,
        f"its weight {use.initializer} is quantised ({scheme})",
        advice="use --quantized live (exact, beside the weight) or requantize",
    )
