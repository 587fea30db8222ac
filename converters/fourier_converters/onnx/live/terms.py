"""Terms: what an input adds to the product or sum of a layer, and how it is added."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from fourier_converters.onnx.batches import Batch
from fourier_converters.onnx.live.arranging import bias_term, put_back, rows_outside
from fourier_converters.onnx.live.counting import Checked, by_batch
from fourier_converters.onnx.live.nodes import Nodes
from fourier_converters.onnx.live.placing import Place
from fourier_converters.onnx.live.planning import Added
from fourier_converters.onnx.live.spectrum import Fed, StoredBasis, spectral_terms
from fourier_converters.onnx.packed import divided
from fourier_converters.onnx.surgery import Swap
from fourier_format.live.interface import Interface


@dataclass(frozen=True, slots=True, eq=False)
class Terms:
    """Makes nodes for terms.

    Attributes:
        interface: The graph's.
        bases: The constants of each bank, by input.
        batches: Where the batch lies at each site, by the site's id.
    """

    interface: Interface
    bases: Mapping[str, StoredBasis]
    batches: Mapping[int, Batch]

    def of(self, nodes: Nodes, members: Sequence[Added]) -> dict[int, str]:
        """Returns the terms (N, features) of what reads one x, by id; of a bias what is fed."""
        first = members[0]
        if first.row is not None:
            names = self._spectral(nodes, members)
        elif first.bias:
            names = []
        else:
            names = [self._difference(nodes, first)]
        return dict(zip(map(id, members), names, strict=False))

    def added(
        self,
        nodes: Nodes,
        swap: Swap,
        place: Place,
        members: Sequence[Added],
        made: Mapping[int, str],
    ) -> str:
        """Returns what was at a place plus the terms of `members`, in their rows of it."""
        whole, before = members[0].site.width, swap.before
        shape_of = before if place.beside is None else place.y.name
        if members[0].site.rows is None:
            for one in members:
                before = self._plus(nodes, before, shape_of, one, whole, made)
            return before
        parts = sorted(members, key=lambda one: one.site.rows or (0, 0))
        sizes, owners = divided([one.site.rows or (0, whole) for one in parts], whole)
        pieces = nodes.split(before, sizes)
        for at, owner in owners.items():
            piece = pieces[at]
            pieces[at] = self._plus(nodes, piece, piece, parts[owner], sizes[at], made)
        return nodes.add("Concat", *pieces, axis=-1)

    def for_attention(self, nodes: Nodes, members: Sequence[Added]) -> list[str]:
        """Returns the terms of a fused Attention's parts, (rows, tokens, features)."""
        made, names = self.of(nodes, members), []
        for one in members:
            site = one.site
            first, end = site.rows or (0, site.width)
            if one.bias:
                fed = self._fed(nodes, one)
                term = nodes.reshape(fed.values, -1, 1, end - first)
            else:
                leading = nodes.add(
                    "Gather",
                    nodes.add("Shape", site.x.name),
                    nodes.constants.integers(0, 1),
                    axis=0,
                )
                width = nodes.constants.integers(end - first)
                shape = nodes.add("Concat", leading, width, axis=0)
                term = nodes.add("Reshape", made[id(one)], shape)
            names.append(term if site.dtype == "F32" else nodes.cast(term, site.dtype))
        return names

    def _spectral(self, nodes: Nodes, members: Sequence[Added]) -> list[str]:
        first = members[0]
        basis = self.bases[first.input]
        width = basis.of.split_in.length
        fed = self._fed(nodes, first)
        targets = tuple(one.row or 0 for one in members)
        given = Fed(self._rows_first(nodes, first, width), fed.values, fed.rows, targets)
        return spectral_terms(nodes, basis, given, static=self.interface.static)

    def _difference(self, nodes: Nodes, one: Added) -> str:
        """Returns x D^T for the difference D of a replaced weight, (N, out)."""
        layout = self.interface.layouts[one.input]
        out, in_ = layout[::-1] if one.turned else layout
        fed = self._fed(nodes, one)
        matrix = fed.values
        if not one.turned:
            matrix = nodes.add("Transpose", matrix, perm=[0, 2, 1])
        integers = nodes.constants.integers
        shape = nodes.add("Concat", fed.rows, integers(-1), integers(in_), axis=0)
        tokens = nodes.add("Reshape", self._rows_first(nodes, one, in_), shape)
        return nodes.reshape(nodes.add("MatMul", tokens, matrix), -1, out)

    def _fed(self, nodes: Nodes, one: Added) -> Checked:
        """Returns what is fed, by row; of a bank all targets'."""
        layout = self.interface.layouts[one.input]
        return by_batch(nodes, one.input, layout, self.batches[id(one.site)])

    def _rows_first(self, nodes: Nodes, one: Added, width: int) -> str:
        """Returns x as float32 with the rows of the batch slowest."""
        x, site = one.site.x.name, one.site
        wide = x if site.dtype == "F32" else nodes.cast(x, "F32")
        return rows_outside(nodes, wide, self.batches[id(site)], width)

    def _plus(
        self,
        nodes: Nodes,
        before: str,
        shape_of: str,
        one: Added,
        width: int,
        made: Mapping[int, str],
    ) -> str:
        """Returns `before` plus one term or bias, which has the shape of `shape_of`."""
        batch, dtype = self.batches[id(one.site)], one.site.dtype
        shape = self._shape(nodes, before, shape_of, one, width)
        if one.bias:
            fed, rows = self._fed(nodes, one)
            fed = fed if dtype == "F32" else nodes.cast(fed, dtype)
            return nodes.add("Add", before, bias_term(nodes, shape_of, fed, rows, batch, shape))
        term = made[id(one)] if dtype == "F32" else nodes.cast(made[id(one)], dtype)
        return nodes.add("Add", before, put_back(nodes, term, batch, width, shape))

    def _shape(self, nodes: Nodes, before: str, shape_of: str, one: Added, width: int) -> str:
        """Returns the shape of `shape_of`.

        Of x where that will do: optimisers fuse what nothing else reads.
        """
        if shape_of == before or not one.site.is_like:
            return nodes.add("Shape", shape_of)
        zero, last = nodes.constants.integers(0), nodes.constants.integers(-1)
        leading = nodes.add("Slice", nodes.add("Shape", one.site.x.name), zero, last)
        return nodes.add("Concat", leading, nodes.constants.integers(width), axis=0)
