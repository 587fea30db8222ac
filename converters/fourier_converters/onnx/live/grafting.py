"""Puts a live plan into a graph: inputs, one If for each group, one for each value added to.

An If reads its condition on the CPU and nothing else, so that a graph to which nothing is fed does
what the base does, to the bit. Without If, in the static form, zeros are added.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from fourier_converters.onnx import surgery
from fourier_converters.onnx.live.arranging import (
    arrangement,
    batch_size,
    bias_term,
    put_back,
    rows_outside,
)
from fourier_converters.onnx.live.basis import basis
from fourier_converters.onnx.live.batches import Batch, Batches
from fourier_converters.onnx.live.nodes import Constants, Nodes
from fourier_converters.onnx.live.opening import open_attention, refuse_unopenable
from fourier_converters.onnx.live.placing import Place
from fourier_converters.onnx.live.planning import Added, LivePlan
from fourier_converters.onnx.live.sites import Site
from fourier_converters.onnx.live.spectrum import StoredBasis, begun, ended, stored
from fourier_converters.onnx.model import Model, Value
from fourier_converters.onnx.stores import Store
from fourier_converters.onnx.tensors import element_type
from fourier_format.errors import UnsupportedError, Violation, raise_all
from fourier_format.live.interface import KEY, to_text


def graft(plan: LivePlan, model: Model, store: Store, progress: Callable[[str], None]) -> None:
    """Change the model's protobuf into the live graph of `plan`.

    Raises:
        UnsupportedError: E-CONVERSION-UNSUPPORTED: nothing shows which row of the batch a site's
            tokens belong to, or a fused Attention cannot be opened.
    """
    fused = [one.site for one in plan.added if one.site.place is None]
    refuse_unopenable(model, [site.read for site in fused], [site.width for site in fused])
    rows = _rows_of(plan, model)
    grafter = _Grafter(plan, model, store, rows)
    grafter.terms(progress)
    grafter.sums()
    grafter.finish()
    entry = model.proto.metadata_props.add()
    entry.key, entry.value = KEY, to_text(plan.interface)


def _rows_of(plan: LivePlan, model: Model) -> dict[int, Batch]:
    """Returns the batch axis of each site's x, by the site's id."""
    batches, found = Batches(model), {}
    failures = []
    for one in plan.added:
        site = one.site
        value = site.place.y if one.bias and site.place is not None else site.x
        batch = batches.of(value)
        if batch is None or arrangement(batch) is None:
            why = batches.why(value) or f"they lie on axis {batch.axis if batch else 0}"
            problem = f"nothing shows which row of the batch its tokens belong to: {why}"
            advice = "merge this adapter (without --live), or serve it merged (`activate`)"
            violation = Violation("E-CONVERSION-UNSUPPORTED", site.name, problem, advice=advice)
            failures.append(UnsupportedError(violation))
        else:
            found[id(site)] = batch
    raise_all(failures)
    return found


class _Grafter:
    """One run of grafting: what was made so far, by name."""

    def __init__(
        self, plan: LivePlan, model: Model, store: Store, batches: dict[int, Batch]
    ) -> None:
        """Add the inputs and their conditions."""
        self._plan = plan
        self._model = model
        self._store = store
        self._batches = batches
        self._constants = Constants(model, store)
        self._head = Nodes(self._constants, "fourier")
        self._conditions: dict[str, str] = {}
        self._bases: dict[str, StoredBasis] = {}
        self._terms: dict[int, str] = {}
        self._empty = self._constants.of(np.zeros(0, np.float32), "fourier.nothing")
        for name, layout in plan.interface.layouts.items():
            self._add_input(name, layout)
        for name, entries in plan.entries.items():
            bank = next(b for b in plan.interface.banks if b.input == name)
            made = basis(bank.transform, bank.shape, entries)
            stem = name.removesuffix(".coefficients")
            self._bases[name] = stored(made, self._constants, stem)

    def _add_input(self, name: str, layout: tuple[int, ...]) -> None:
        from onnx import helper

        rows = 1 if self._plan.interface.static else 0
        default = np.zeros((rows, *layout), np.float32)
        tensor = surgery.new_initializer(self._model, name, "F32", default.shape)
        if tensor.name != name:
            problem = "the graph has a value of this name: it is live already"
            advice = "make the live graph from the base"
            raise UnsupportedError(Violation("E-BASE-UNSUPPORTED", name, problem, advice=advice))
        self._store.add(tensor, default)
        info = helper.make_tensor_value_info(name, element_type("F32"), ["adapters", *layout])
        self._model.proto.graph.input.append(info)
        if not self._plan.interface.static:
            size = self._count(self._head, name)
            zero = self._constants.integers(0)
            self._conditions[name] = self._head.add("Greater", size, zero, name=f"{name}.is_fed")

    def _count(self, nodes: Nodes, name: str) -> str:
        """Returns the first axis of a value, int64 (1,)."""
        shape = nodes.add("Shape", name, name="shape")
        return nodes.add("Gather", shape, self._constants.integers(0), axis=0)

    def terms(self, progress: Callable[[str], None]) -> None:
        """Add what computes the terms: of each group, and of each replaced weight."""
        for (name, x), members in self._plan.groups().items():
            progress(members[0].site.name)
            self._add_terms(name, x, members, self._spectral(name, x, members))
        for one in self._plan.added:
            if one.row is None and not one.bias:
                self._add_terms(one.input, one.site.x, [one], self._difference(one))

    def _add_terms(
        self,
        name: str,
        x: Value,
        members: Sequence[Added],
        compute: Callable[[Nodes], Sequence[str]],
    ) -> None:
        """Add the nodes of terms behind x; nothing is computed where nothing is fed."""
        nodes = Nodes(self._constants, f"{x.name}.{name}")
        outputs = [self._model.fresh_name(f"{one.site.name}.term") for one in members]
        if self._plan.interface.static:
            for output, made in zip(outputs, compute(nodes), strict=True):
                _name_output(nodes.made, made, output)
        else:
            dtypes = ["F32"] * len(outputs)
            nodes.either(
                self._conditions[name],
                compute,
                lambda inner: [inner.add("Identity", self._empty) for _ in outputs],
                outputs,
                dtypes,
            )
        surgery.insert_behind(self._model, x, nodes.made)
        for one, output in zip(members, outputs, strict=True):
            self._terms[id(one)] = output

    def _spectral(
        self, name: str, x: Value, members: Sequence[Added]
    ) -> Callable[[Nodes], Sequence[str]]:
        def compute(nodes: Nodes) -> list[str]:
            site = members[0].site
            fed, rows = self._checked(nodes, name, self._batches[id(site)])
            width = self._bases[name].of.split_in.length
            wide = self._rows_first(nodes, x, site, width)
            begin = begun(nodes, self._bases[name], wide, rows)
            rows_of = [one.row or 0 for one in members]
            return [ended(nodes, self._bases[name], begin, fed, row) for row in rows_of]

        return compute

    def _difference(self, one: Added) -> Callable[[Nodes], Sequence[str]]:
        """Returns what computes x D^T for the difference D of a replaced weight, (N, out)."""

        def compute(nodes: Nodes) -> list[str]:
            site = one.site
            fed, rows = self._checked(nodes, one.input, self._batches[id(site)])
            layout = self._plan.interface.layouts[one.input]
            out, in_ = layout[::-1] if one.turned else layout
            matrix = fed if one.turned else nodes.add("Transpose", fed, perm=[0, 2, 1])
            features = self._constants.integers(in_)
            shape = nodes.add("Concat", rows, self._constants.integers(-1), features, axis=0)
            tokens = nodes.add("Reshape", self._rows_first(nodes, site.x, site, in_), shape)
            return [nodes.reshape(nodes.add("MatMul", tokens, matrix), -1, out)]

        return compute

    def _checked(self, nodes: Nodes, name: str, batch: Batch) -> tuple[str, str]:
        """Returns the fed tensor and its count of rows (1,), which is 1 or the batch.

        The Reshape fails for any other count, before a row could get the wrong adapter.
        """
        one = self._constants.integers(1)
        count, size = self._count(nodes, name), batch_size(nodes, batch)
        rows = nodes.add("Where", nodes.add("Equal", count, one), one, size)
        layout = self._plan.interface.layouts[name]
        first = self._constants.integers(1, *(0 for _ in layout))
        others = self._constants.integers(0, *layout)
        # Of a Concat, ONNX Runtime makes the constant (-1, L, n), which takes any count.
        shape = nodes.add("Add", nodes.add("Mul", rows, first), others)
        return nodes.add("Reshape", name, shape, name="rows_are_1_or_batch"), rows

    def _rows_first(self, nodes: Nodes, x: Value, site: Site, width: int) -> str:
        """Returns x as float32 with the rows of the batch slowest."""
        wide = x.name if site.dtype == "F32" else nodes.cast(x.name, "F32")
        return rows_outside(nodes, wide, self._batches[id(site)], width)

    def sums(self) -> None:
        """Add the terms to what the base computes."""
        by_place: dict[tuple[Place, str], list[Added]] = defaultdict(list)
        fused: dict[Any, list[Added]] = defaultdict(list)
        for one in self._plan.added:
            if one.site.place is None:
                fused[one.site.read.scope, one.site.read.node].append(one)
            else:
                by_place[one.site.place, one.input].append(one)
        for (place, name), members in by_place.items():
            self._add_sum(place, name, members)
        for members in fused.values():
            self._open(members)

    def _add_sum(self, place: Place, name: str, members: Sequence[Added]) -> None:
        def made(before: str, after: str) -> list[Any]:
            nodes = Nodes(self._constants, f"{place.y.name}.sum")
            shape_of = place.y.name if place.beside else before
            if self._plan.interface.static:
                _name_output(nodes.made, self._summed(nodes, before, shape_of, members), after)
            else:
                nodes.either(
                    self._conditions[name],
                    lambda inner: [self._summed(inner, before, shape_of, members)],
                    lambda inner: [inner.add("Identity", before)],
                    [after],
                    [members[0].site.dtype],
                )
            return nodes.made

        if place.beside is None:
            surgery.recompute(self._model, place.y, lambda before: made(before, place.y.name))
        else:
            surgery.read_instead(self._model, place.beside, made)

    def _summed(self, nodes: Nodes, before: str, shape_of: str, members: Sequence[Added]) -> str:
        """Returns `before` and the terms of `members`, in their rows of it."""
        whole = members[0].site.width
        if members[0].site.rows is None:
            for one in members:
                before = self._plus(nodes, before, shape_of, one, whole)
            return before
        parts = sorted(members, key=lambda one: one.site.rows or (0, 0))
        sizes, owners = _divided([one.site.rows or (0, whole) for one in parts], whole)
        pieces = nodes.split(before, sizes)
        for at, owner in owners.items():
            pieces[at] = self._plus(nodes, pieces[at], pieces[at], parts[owner], sizes[at])
        return nodes.add("Concat", *pieces, axis=-1)

    def _plus(self, nodes: Nodes, before: str, shape_of: str, one: Added, width: int) -> str:
        """Returns `before` plus one term or bias, which has the shape of `shape_of`."""
        shape = nodes.add("Shape", shape_of)
        batch, dtype = self._batches[id(one.site)], one.site.dtype
        if one.bias:
            fed, rows = self._checked(nodes, one.input, batch)
            fed = fed if dtype == "F32" else nodes.cast(fed, dtype)
            term = bias_term(nodes, shape_of, fed, rows, batch, shape)
            return nodes.add("Add", before, term)
        term = self._terms[id(one)]
        term = term if dtype == "F32" else nodes.cast(term, dtype)
        return nodes.add("Add", before, put_back(nodes, term, batch, width, shape))

    def _open(self, members: Sequence[Added]) -> None:
        """Open a fused Attention to which terms are added."""
        site = members[0].site
        terms = [(one.site.rows or (0, site.width), one.input, self._fill(one)) for one in members]
        conditions = None if self._plan.interface.static else self._conditions
        open_attention(self._constants, site.read, site.width, site.dtype, terms, conditions)

    def _fill(self, one: Added) -> Callable[[Nodes], str]:
        """Returns what computes a term of a fused Attention: (rows, tokens, features)."""
        site = one.site
        first, end = site.rows or (0, site.width)

        def fill(nodes: Nodes) -> str:
            if one.bias:
                fed, _ = self._checked(nodes, one.input, self._batches[id(site)])
                term = nodes.reshape(fed, -1, 1, end - first)
            else:
                whole = nodes.add("Shape", site.x.name)
                leading = nodes.add("Gather", whole, self._constants.integers(0, 1), axis=0)
                shape = nodes.add("Concat", leading, self._constants.integers(end - first), axis=0)
                term = nodes.add("Reshape", self._terms[id(one)], shape)
            return term if site.dtype == "F32" else nodes.cast(term, site.dtype)

        return fill

    def finish(self) -> None:
        """Put the conditions at the head of the graph."""
        for node in reversed(self._head.made):
            self._model.proto.graph.node.insert(0, node)


def _divided(rows: Sequence[tuple[int, int]], whole: int) -> tuple[list[int], dict[int, int]]:
    """Returns the sizes of the parts of a packed product, and which are whose of `rows`."""
    sizes: list[int] = []
    owners: dict[int, int] = {}
    at = 0
    for owner, (first, end) in enumerate(rows):
        if first > at:
            sizes.append(first - at)
        owners[len(sizes)] = owner
        sizes.append(end - first)
        at = end
    if whole > at:
        sizes.append(whole - at)
    return sizes, owners


def _name_output(made: Sequence[Any], old: str, new: str) -> None:
    """Give the output of the last of some nodes another name."""
    for node in made:
        for slot, name in enumerate(node.output):
            if name == old:
                node.output[slot] = new
