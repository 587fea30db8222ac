"""Graphs that no exporter writes: each is refused in our words, or is not a use and harms nobody.

`attack.bear` lets a model be merged or refused; what it does not let pass is another exception, a
second line that we did not write, a changed base or a file that stays after an error.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from onnx import helper

from tests.attacks.attack import Attack, linear

INT64 = np.int64


def through(step: str, **arrays: Any) -> Callable[[], Any]:
    """Returns a graph whose weight goes through `step`, written over w and giving t."""
    text = f"""
        g (float[N, 32] x) => (float[N, 48] y) {{
            {step}
            [node_MatMul] y = MatMul (x, t)
        }}
    """
    constants = {name: np.array(value, INT64) for name, value in arrays.items()}
    return lambda: linear(constants, text)


def _reshapes() -> dict[str, Callable[[], Any]]:
    shapes: dict[str, Any] = {
        "zeros": [0, 0],
        "-1 twice": [-1, -1],
        "-1 and 0": [0, -1],
        "all zero and -1": [0, 0, 0, -1],
        "too many zeros": [0] * 9,
        "huge": [2**62, 2**62],
        "huge and -1": [2**63 - 1, -1],
        "a product that overflows to the size": [2**32, 2**32 * 48, 1],
        "below -1": [-2, -768],
        "the least number": [-(2**63), -1],
        "empty": [],
        "a scalar": 5,
        "a table": [[32, 48]],
        "a thousand ones": [1] * 1000 + [32, 48],
        "a hundred thousand ones": [1] * 100_000,
        "33 axes": [1] * 31 + [32, 48],
        "65 axes": [1] * 63 + [32, 48],
        "one that does not fit": [32, 47],
    }
    return {
        f"Reshape to {name}": through("t = Reshape (w, s)", s=shape)
        for name, shape in shapes.items()
    }


def _axes() -> dict[str, Callable[[], Any]]:
    steps = {
        "Transpose of axes outside": "t = Transpose <perm = [0, 2]> (w)",
        "Transpose of negative axes": "t = Transpose <perm = [-1, -2]> (w)",
        "Transpose of an axis twice": "t = Transpose <perm = [0, 0]> (w)",
        "Transpose of too few": "t = Transpose <perm = [0]> (w)",
        "Transpose of too many": "t = Transpose <perm = [0, 1, 2, 3]> (w)",
        "Transpose of a huge axis": "t = Transpose <perm = [9223372036854775807, 0]> (w)",
        "Flatten at a huge axis": "t = Flatten <axis = 9223372036854775807> (w)",
        "Flatten at a negative axis": "t = Flatten <axis = -9> (w)",
        "Cast to nothing": "t = Cast <to = 0> (w)",
        "Cast to a huge type": "t = Cast <to = 9999999> (w)",
        "Cast to a negative type": "t = Cast <to = -1> (w)",
        "Identity without input": "t = Identity ()",
        "Reshape without shape": "t = Reshape (w)",
        "Reshape to a computed shape": "s = Shape (x) t = Reshape (w, s)",
        "Unsqueeze without axes": "t = Unsqueeze (w)",
    }
    found = {name: through(step) for name, step in steps.items()}
    for name, axes in {
        "outside": [9],
        "negative": [-9],
        "twice": [0, 0],
        "huge": [2**63 - 1],
        "many": [0] * 100_000,
        "none": [],
    }.items():
        found[f"Squeeze of axes {name}"] = through("t = Squeeze (w, a)", a=axes)
        found[f"Unsqueeze of axes {name}"] = through("t = Unsqueeze (w, a)", a=axes)
    return found


def _rings() -> dict[str, Callable[[], Any]]:
    return {
        "a node that reads itself": through("t = Identity (t)"),
        "a ring of Identity": through("u = Identity (t) t = Identity (u)"),
        "a ring of Transpose": through("u = Transpose (t) t = Transpose (u)"),
        "a ring of Mul and Cast": through("u = Cast <to = 1> (t) t = Mul (u, w)"),
        "a ring of Add": through("u = Add (t, w) t = Add (u, w)"),
        "nodes in the wrong order": through("t = Identity (u) u = Identity (w)"),
        "an output written twice": through("t = Identity (w) t = Transpose (w)"),
        "an initializer written over": through("w = Identity (x) t = Identity (w)"),
        "a chain of 20 000": through(
            "w0 = Identity (w)"
            + "".join(f" w{i + 1} = Identity (w{i})" for i in range(20_000))
            + " t = Identity (w20000)"
        ),
        "a weight that is not there": through("t = Identity (nowhere)"),
    }


GRAPHS = {**_reshapes(), **_axes(), **_rings()}


@pytest.mark.parametrize("make", GRAPHS.values(), ids=GRAPHS.keys())
def test_a_graph_of_nonsense_is_refused_or_harmless(
    make: Callable[[], Any], attack: Attack
) -> None:
    attack.inline(make())

    attack.bear()


def _busy() -> dict[str, str]:
    """Graphs of kilobytes over which a careless search would take minutes."""
    many = ", ".join(["y"] * 4000)
    turns = (f"w{i + 1} = Reshape (w{i}, {'st'[i % 2]})" for i in range(1500))
    return {
        "a Concat of one product 4000 times": f"y = MatMul (x, w) z = Concat <axis = 1> ({many})",
        "a Mul of one product 4000 times": f"y = MatMul (x, w) m = Mul ({many}) z = Mul (m, m)",
        "a chain of Reshape, all of it read": "w0 = Identity (w) "
        + " ".join(turns)
        + " y = MatMul (x, w1500) "
        + " ".join(f"y{i} = MatMul (x, w{i})" for i in range(1500)),
    }


@pytest.mark.parametrize("body", _busy().values(), ids=_busy().keys())
def test_a_small_graph_does_not_keep_us_busy(body: str, attack: Attack) -> None:
    text = f"g (float[N, 32] x) => (float[N, 48] y) {{ {body} }}"
    shapes = {"s": np.array([48, 32], INT64), "t": np.array([32, 48], INT64)}
    made = linear(shapes, text)
    attack.inline(made)

    attack.bear()


@pytest.mark.parametrize(
    "equation",
    [
        *("", "->", ",->", "ab", "ab,bc", "ab,bc->", "ab,bc->ac->", "ab,bc,cd->ad", "ab,bc->ab"),
        *("...b,bc->...c", "ab,b...->a...", "ab,bbc->ac", "ab,bb->a", "ab,cd->", "ab,bc->zz"),
        *(",bc->c", "ab,->a", "ab,bc->ca", "aé,éc->ac", "a\0,\0c->ac", "a" * 100_000 + ",bc->ac"),
        *("->" * 50_000, "," * 100_000, "ab,bc->" + "c" * 100_000, "....b,bc->....c"),
    ],
    ids=lambda text: ascii(text[:20]),
)
def test_an_equation_of_nonsense_is_refused_or_harmless(equation: str, attack: Attack) -> None:
    made = linear()
    (node,) = made.graph.node
    node.op_type = "Einsum"
    node.attribute.append(helper.make_attribute("equation", equation))
    attack.inline(made)

    attack.bear()


@pytest.mark.parametrize("sizes", [[], [0, 48], [-1, 49], [2**62] * 2, [24], [24, 25], [16, 16]])
@pytest.mark.parametrize("outputs", [1, 2, 3, 1000])
def test_a_split_that_does_not_fit_is_refused_or_harmless(
    sizes: list[int], outputs: int, attack: Attack
) -> None:
    made = linear({"sizes": np.array(sizes, INT64)})
    names = [f"part_{i}" for i in range(outputs)]
    made.graph.node.append(helper.make_node("Split", ["y", "sizes"], names, axis=-1))
    attack.inline(made)

    attack.bear()


@pytest.mark.parametrize("op_type", ["GroupQueryAttention", "Attention"])
@pytest.mark.parametrize("number", [0, -1, 2**31, 2**63 - 1, -(2**63)])
def test_heads_of_nonsense_are_refused_or_harmless(
    op_type: str, number: int, attack: Attack
) -> None:
    made = linear()
    fused = helper.make_node(
        op_type,
        ["y", "", ""] if op_type == "GroupQueryAttention" else ["x", "w", ""],
        ["z"],
        domain="com.microsoft",
        num_heads=number,
        kv_num_heads=number,
        qkv_hidden_sizes=[number] * 3,
    )
    made.graph.node.append(fused)
    attack.inline(made)

    attack.bear()


ARITY = ["MatMul", "Gemm", "Conv", "Einsum", "Gather", "Add", "Mul", "LayerNormalization"]
PASSED = ["Identity", "Transpose", "Cast", "Reshape", "Squeeze", "Unsqueeze", "Flatten", "Split"]
CODES = ["DequantizeLinear", "MatMulInteger", "Constant", "If", "Loop", "Scan"]
MICROSOFT = [
    *("MatMulNBits", "MatMulIntegerToFloat", "DynamicQuantizeMatMul", "FusedMatMul", "FusedGemm"),
    *("Attention", "GroupQueryAttention", "SkipLayerNormalization", "EmbedLayerNormalization"),
]


@pytest.mark.parametrize("op_type", ARITY + PASSED + CODES + MICROSOFT)
@pytest.mark.parametrize(("inputs", "outputs"), [(0, 1), (1, 1), (2, 0), (2, 5), (40, 1)])
def test_nodes_of_any_number_of_inputs_and_outputs_are_refused_or_harmless(
    op_type: str, inputs: int, outputs: int, attack: Attack
) -> None:
    domain = "com.microsoft" if op_type in MICROSOFT else ""
    made = linear()
    for name in ("w", "y", "", "nowhere"):
        given = [name] * inputs
        results = [f"{name}_{i}" for i in range(outputs)]
        made.graph.node.append(helper.make_node(op_type, given, results, domain=domain))
        made.graph.node.append(helper.make_node("MatMul", ["x", f"{name}_0"], [f"{name}_product"]))
    attack.inline(made)

    attack.bear()
