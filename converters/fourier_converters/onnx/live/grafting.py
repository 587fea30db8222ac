"""Puts a live plan into a graph: inputs, and one If for all that one input adds behind one x.

An If reads its condition and nothing else where nothing is fed, so that such a graph does what the
base does, to the bit. Without If, in the static form, zeros are computed with and added.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from fourier_converters.onnx import surgery
from fourier_converters.onnx.batches import Batch, Batches
from fourier_converters.onnx.live.arranging import arrangement
from fourier_converters.onnx.live.counting import count_of
from fourier_converters.onnx.live.nodes import Constants, Nodes
from fourier_converters.onnx.live.opening import Fused, Source, open_attention, refuse_unopenable
from fourier_converters.onnx.live.placing import Place
from fourier_converters.onnx.live.planning import Added, LivePlan
from fourier_converters.onnx.live.spectrum import StoredBasis, stored
from fourier_converters.onnx.live.terms import Terms
from fourier_converters.onnx.model import Model
from fourier_converters.onnx.stores import Store
from fourier_converters.onnx.tensors import element_type
from fourier_format.adapter import Array
from fourier_format.dtypes import dtype_name
from fourier_format.errors import UnsupportedError, Violation
from fourier_format.live.interface import KEY, to_text


def graft(plan: LivePlan, model: Model, store: Store, progress: Callable[[str], None]) -> None:
    """Change the model's protobuf into the live graph of `plan`.

    Raises:
        UnsupportedError: E-CONVERSION-UNSUPPORTED: nothing shows which row of the batch a site's
            tokens belong to, or a fused Attention cannot be opened.
    """
    _refuse_fused(plan, model)
    batches = _batches_of(plan, model)
    constants = Constants(model, store)
    conditions = _declared(plan, constants, store)
    terms = Terms(plan.interface, _bases(plan, constants), batches)
    sites: dict[tuple[Any, ...], list[Added]] = defaultdict(list)
    for one in plan.added:
        site = one.site
        sites[one.input, site.x, site.read.scope, _apart(one)].append(one)
    opened: dict[tuple[int, int], list[list[Added]]] = defaultdict(list)
    for members in sites.values():
        site = members[0].site
        progress(site.name)
        if site.place is None:
            opened[site.read.scope, site.read.node].append(members)
        else:
            _add(members, terms, constants, conditions)
    for groups in opened.values():
        _open(groups, terms, constants, conditions)
    surgery.sort_nodes(model)
    entry = model.proto.metadata_props.add()
    entry.key, entry.value = KEY, to_text(plan.interface)


def _apart(one: Added) -> object:
    """Returns what must not share an If with others: what stands beside may depend on theirs."""
    place = one.site.place
    if one.row is None:
        return id(one)
    if place is None:
        return "fused"
    return place if place.beside is not None else None


def _refuse_fused(plan: LivePlan, model: Model) -> None:
    """Check the fused Attentions that have to be opened."""
    sites = [one.site for one in plan.added if one.site.place is None]
    refuse_unopenable(model, [Fused(site.read, site.width, site.dtype) for site in sites])


def _batches_of(plan: LivePlan, model: Model) -> dict[int, Batch]:
    """Returns where the batch lies at each site, by the site's id."""
    batches, found = Batches(model), {}
    refused: dict[str, list[str]] = defaultdict(list)
    for one in plan.added:
        site = one.site
        value = site.place.y if one.bias and site.place is not None else site.x
        batch = batches.of(value)
        if batch is None or arrangement(batch) is None:
            why = batches.why(value) or f"they lie on axis {batch.axis if batch else 0}"
            refused[why].append(site.name)
        else:
            found[id(site)] = batch
    if refused:
        raise UnsupportedError([_unproven(why, names) for why, names in refused.items()])
    return found


def _unproven(why: str, names: Sequence[str]) -> Violation:
    """Returns one violation for all places that have one reason."""
    others = "" if len(names) == 1 else f", and {len(names) - 1} more"
    problem = f"nothing shows which row of the batch its tokens belong to: {why}"
    advice = (
        "call the batch's axis 'batch' in all inputs when you export, or merge this adapter "
        "(without --live)"
    )
    return Violation("E-CONVERSION-UNSUPPORTED", f"{names[0]}{others}", problem, advice=advice)


def _declared(plan: LivePlan, constants: Constants, store: Store) -> dict[str, str] | None:
    """Add the inputs; returns whether each is fed, by name, None in the static form."""
    static = plan.interface.static
    head = Nodes(constants, "fourier")
    conditions: dict[str, str] = {}
    for name, layout in plan.interface.layouts.items():
        default = np.zeros((int(static), *layout), np.float32)
        _declare(name, default, ["adapters", *layout], constants.model, store)
        if not static:
            zero = constants.integers(0)
            fed = head.add("Greater", count_of(head, name), zero, name=f"{name}.is_fed")
            conditions[name] = fed
    constants.model.proto.graph.node.extend(head.made)
    return None if static else conditions


def _declare(
    name: str, default: Array, shape: Sequence[int | str], model: Model, store: Store
) -> None:
    """Add an input that has a default."""
    from onnx import helper

    dtype = str(dtype_name(default.dtype))
    tensor = surgery.new_initializer(model, name, dtype, default.shape)
    if tensor.name != name:
        problem = "the graph has a value of this name: it is live already"
        advice = "make the live graph from the base"
        raise UnsupportedError(Violation("E-BASE-UNSUPPORTED", name, problem, advice=advice))
    store.add(tensor, default)
    info = helper.make_tensor_value_info(name, element_type(dtype), shape)
    model.proto.graph.input.append(info)


def _bases(plan: LivePlan, constants: Constants) -> dict[str, StoredBasis]:
    return {
        name: stored(basis, constants, name.removesuffix(".coefficients"))
        for name, basis in plan.bases.items()
    }


def _add(
    members: Sequence[Added],
    terms: Terms,
    constants: Constants,
    conditions: dict[str, str] | None,
) -> None:
    """Add what one input adds behind one x, to each place by itself."""
    model, first = constants.model, members[0].site
    by_place: dict[Place, list[Added]] = defaultdict(list)
    for one in members:
        if one.site.place is not None:
            by_place[one.site.place].append(one)
    swaps = [surgery.take(model, place.y, place.beside) for place in by_place]
    nodes = Nodes(constants, f"{first.x.name}.{members[0].input}")

    def summed(inner: Nodes) -> list[str]:
        made = terms.of(inner, members)
        return [
            terms.added(inner, swap, place, group, made)
            for swap, (place, group) in zip(swaps, by_place.items(), strict=True)
        ]

    after = [swap.after for swap in swaps]
    if conditions is None:
        for swap, name in zip(swaps, summed(nodes), strict=True):
            nodes.rename(name, swap.after)
    else:
        nodes.either(
            conditions[members[0].input],
            summed,
            lambda inner: [inner.add("Identity", swap.before) for swap in swaps],
            after,
            [first.dtype] * len(after),
        )
    surgery.append(model, first.read.scope, nodes.made)


def _open(
    groups: Sequence[Sequence[Added]],
    terms: Terms,
    constants: Constants,
    conditions: dict[str, str] | None,
) -> None:
    """Open a fused Attention to which terms are added."""
    by_input: dict[str, list[Sequence[Added]]] = defaultdict(list)
    for members in groups:
        by_input[members[0].input].append(members)
    sources = []
    for name, groups_of in by_input.items():
        columns = [one.site.rows or (0, one.site.width) for g in groups_of for one in g]

        def fill(nodes: Nodes, groups_of: Sequence[Sequence[Added]] = groups_of) -> list[str]:
            return [name for group in groups_of for name in terms.for_attention(nodes, group)]

        sources.append(Source(name, tuple(columns), fill))
    site = groups[0][0].site
    open_attention(constants, Fused(site.read, site.width, site.dtype), sources, conditions)
