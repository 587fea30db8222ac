"""Fused Attention, opened: what it computes in nodes of its own, so that terms can be added.

com.microsoft's `Attention` multiplies x with one weight that holds query, key and value, and hides
the product. Opened it is

    MatMul(x, W) + b -> Split -> q, k, v, each + its terms -> MultiHeadAttention

Both operators of ONNX Runtime share one kernel behind the product (contrib_ops/cpu/bert/
attention_cpu_base.h; on CUDA, attention_impl.cu), so masks, `scale`, `mask_filter_value` and
`unidirectional` mean the same in both, and whether rows and heads share an `attention_bias`, too.
They differ in these:

    mask_index [R], [3 R + 2], [R, T], [R, S, T]  the same as MultiHeadAttention's key_padding_mask
    mask_index [2 R], [R, 1] or [1, 1], [R, 1, M, M]  not taken
    past, present [2, R, heads, P, size]              past_key and past_value, two tensors
    rotation (do_rotary), a cache shared by past and present   not there, or in other inputs

R is the number of rows, S that of tokens, T the same with those of the past. Where shapes in the
graph do not tell [2 R] from [R], MultiHeadAttention does when it runs: it refuses, and never
computes another thing. Every operator written here has kernels of the CPU and the CUDA provider.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from itertools import accumulate, pairwise
from typing import Any, Final

import numpy as np

from fourier_converters.onnx.operators import MICROSOFT, UNOPENED
from fourier_converters.onnx.protos import attribute
from fourier_format.adapter import Array
from fourier_format.errors import Violation

Term = tuple[tuple[int, int], str]
"""The columns of the packed product (first, end), and the name of what is added: [R, S, end-first].

Columns of the product are rows of the packed canonical matrix."""
Shapes = Mapping[str, Sequence[int | None]]
"""Dimensions by the name of a value, None for one that varies; a name that lacks is unknown."""

_BIAS, _MASK, _PAST, _ATTENTION_BIAS, _PAST_LENGTH = 2, 3, 4, 5, 6
_SAME: Final = ("num_heads", "scale", "mask_filter_value", "unidirectional")
"""Attributes that mean the same in both operators."""
_KNOWN: Final = frozenset(_SAME) | {
    "qkv_hidden_sizes",
    "do_rotary",
    "rotary_embedding_dim",
    "past_present_share_buffer",
}
_ADVICE: Final = (
    "fuse the base with --use_multi_head_attention or --disable_attention of"
    " onnxruntime.transformers.optimizer, or merge the adapter"
)


def refusal(node: Any, shapes: Shapes, width: int) -> Violation | None:
    """Returns why a node that holds a packed weight cannot be opened; None where it can.

    Args:
        node: The NodeProto.
        shapes: What is known of the shapes of its inputs.
        width: Columns of its packed product, that is q, k and v together.
    """
    if node.op_type != "Attention" or node.domain != MICROSOFT:
        return _violation(node, *_other_operator(node))
    found = _refused_attribute(node, width) or _refused_input(node, shapes)
    return None if found is None else _violation(node, *found)


def opened(
    node: Any, terms: Sequence[Term], names: Callable[[str], str], *, width: int, opset: int
) -> list[Any]:
    """Returns the nodes that compute an Attention's outputs, under the names that it gives them.

    Args:
        node: A NodeProto that `refusal` has nothing against.
        terms: What is added to q, k and v, of the dtype of x. One that is just q, k or v, or all
            of them, costs one Add; other columns are padded first.
        names: Gives a name that is free in the graph, from a stem.
        width: Columns of its packed product.
        opset: The model's, of ONNX.
    """
    return _Writer(node, names, width, opset).written(terms)


class _Writer:
    """Collects the nodes."""

    def __init__(self, node: Any, names: Callable[[str], str], width: int, opset: int) -> None:
        self.node = node
        self.names = names
        self.width = width
        self.opset = opset
        self.nodes: list[Any] = []

    def written(self, terms: Sequence[Term]) -> list[Any]:
        """Returns all nodes: the product, its parts with their terms, what attends."""
        sizes = _sizes(self.node, self.width)
        parts = list(pairwise(accumulate(sizes, initial=0)))
        packed = self._add("MatMul", self.node.input[:2], "product")
        whole = [self._widened(*term) for term in terms if term[0] not in parts]
        for addend in (_given(self.node, _BIAS), *whole):
            packed = self._add("Add", [packed, addend], "sum") if addend else packed
        stems = ("query", "key", "value")
        queries = self._split(packed, sizes, stems)
        for at, part in enumerate(parts):
            for addend in [name for columns, name in terms if columns == part]:
                queries[at] = self._add("Add", [queries[at], addend], f"{stems[at]}.sum")
        self._attend(queries)
        return self.nodes

    def _widened(self, columns: tuple[int, int], name: str) -> str:
        """Returns a term over all columns, zeros where it has none."""
        first, end = columns
        if (first, end) == (0, self.width):
            return name
        pads = [0, 0, first, 0, 0, self.width - end]
        return self._with_integers("Pad", name, pads, "term", "pads", since=11)

    def _split(self, packed: str, sizes: list[int], stems: Sequence[str]) -> list[str]:
        outputs = [self.names(stem) for stem in stems]
        self._with_integers("Split", packed, sizes, outputs, "split", since=13, axis=-1)
        return outputs

    def _attend(self, queries: list[str]) -> None:
        """Add MultiHeadAttention, and what turns past and present into what it takes and gives."""
        node = self.node
        mask, bias, past = (_given(node, slot) for slot in (_MASK, _ATTENTION_BIAS, _PAST))
        caches = [self._cache(past, at) for at in (0, 1)] if past else []
        inputs = [*queries, "", mask, bias, *caches]
        while not inputs[-1]:
            inputs.pop()
        present = [self.names(stem) for stem in ("present.key", "present.value")]
        wanted = node.output[1] if len(node.output) > 1 else ""
        outputs = [node.output[0], *(present if wanted else ())]
        self._add("MultiHeadAttention", inputs, outputs, domain=MICROSOFT)
        self.nodes[-1].attribute.extend(a for a in node.attribute if a.name in _SAME)
        if wanted:
            lifted = [
                self._with_integers("Unsqueeze", name, [0], f"{name}.lifted", "axes", since=13)
                for name in present
            ]
            self._add("Concat", lifted, [wanted], axis=0)

    def _cache(self, past: str, at: int) -> str:
        """Returns the keys (0) or values (1) of a past that holds both."""
        index = self._constant(np.array(at, np.int64))
        return self._add("Gather", [past, index], f"past.{('key', 'value')[at]}", axis=0)

    def _with_integers(
        self,
        operator: str,
        given: str,
        values: list[int],
        outputs: str | Sequence[str],
        name: str,
        *,
        since: int,
        **attributes: Any,
    ) -> str:
        """Add a node whose integers became an input, from an attribute, in opset `since`."""
        if self.opset < since:
            return self._add(operator, [given], outputs, **{name: values}, **attributes)
        constant = self._constant(np.array(values, np.int64))
        return self._add(operator, [given, constant], outputs, **attributes)

    def _constant(self, values: Array) -> str:
        from onnx import numpy_helper

        return self._add("Constant", [], "constant", value=numpy_helper.from_array(values))

    def _add(
        self, operator: str, inputs: Sequence[str], outputs: str | Sequence[str], **attributes: Any
    ) -> str:
        """Add a node; its outputs are given, or one named after a stem. Returns the first."""
        from onnx import helper

        results = [self.names(outputs)] if isinstance(outputs, str) else list(outputs)
        made = helper.make_node(operator, list(inputs), results, name=results[0], **attributes)
        self.nodes.append(made)
        return results[0]


def _sizes(node: Any, width: int) -> list[int]:
    sizes: list[int] = attribute(node, "qkv_hidden_sizes", [])
    return sizes or [width // 3] * 3


def _given(node: Any, slot: int) -> str:
    return str(node.input[slot]) if slot < len(node.input) else ""


def _other_operator(node: Any) -> tuple[str, str]:
    known = UNOPENED.get(node.op_type) if node.domain == MICROSOFT else None
    domain = f"{node.domain}." if node.domain else ""
    what = f": {known}" if known else ""
    return "op_type", f"{domain}{node.op_type} is not opened{what}"


def _refused_attribute(node: Any, width: int) -> tuple[str, str] | None:
    """Returns an attribute that MultiHeadAttention lacks, and what is wrong with it."""
    if attribute(node, "do_rotary", 0):
        return "do_rotary", "it rotates q and k, which MultiHeadAttention does not"
    if attribute(node, "past_present_share_buffer", 0):
        return "past_present_share_buffer", "past and present are one buffer"
    sizes = _sizes(node, width)
    if len(sizes) != 3 or sum(sizes) != width or sizes[0] != sizes[1] or min(sizes) < 1:
        return "qkv_hidden_sizes", f"{sizes} do not divide {width} columns into q, k (equal) and v"
    for entry in node.attribute:
        if entry.name not in _KNOWN:
            return str(entry.name), "it is not known what this attribute means"
    return None


def _refused_input(node: Any, shapes: Shapes) -> tuple[str, str] | None:
    """Returns an input that MultiHeadAttention does not take so, and what is wrong with it."""
    if _given(node, _PAST_LENGTH):
        return "past_sequence_length", "past and present are one buffer"
    if any(node.input[_PAST_LENGTH + 1 :]) or any(node.output[2:]):
        return "inputs", "there are more inputs or outputs than are known"
    mask = shapes.get(_given(node, _MASK)) if _given(node, _MASK) else None
    problem = None if mask is None else _refused_mask(mask, shapes.get(node.input[0]))
    return None if problem is None else ("mask_index", problem)


def _refused_mask(mask: Sequence[int | None], x: Sequence[int | None] | None) -> str | None:
    rows, tokens = (x[0], x[1]) if x else (None, None)
    if len(mask) > 3:
        return f"MultiHeadAttention takes no mask of {len(mask)} axes"
    if len(mask) == 1 and rows is not None and mask[0] == 2 * rows:
        return "MultiHeadAttention takes no ends and starts of rows"
    if len(mask) == 2 and mask[1] == 1 and tokens != 1:
        return "MultiHeadAttention takes no mask of one value a row, which masks nothing"
    return None


def _violation(node: Any, part: str, problem: str) -> Violation:
    name = node.name or node.output[0]
    return Violation(
        "E-CONVERSION-UNSUPPORTED",
        f"{name}.{part}",
        f"a term cannot be added inside {node.op_type}: {problem}",
        advice=_ADVICE,
    )
