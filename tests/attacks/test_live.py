"""Graphs that compute much of little: a live graph asks what shapes they compute, and where.

`attack.bear` also makes a live graph of every base of the other modules.
"""

from __future__ import annotations

from collections.abc import Callable
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from onnx import TensorProto, helper

from fourier_converters.onnx.batches import Batches, batches, sizes
from fourier_converters.onnx.model import Model, Value
from tests.attacks.attack import Attack, linear
from tests.fourier_converters.graphs import save

MOST = 2**17


def with_nodes(*nodes: Any) -> Any:
    """Returns a base with a long column, a long row, and nodes that read them."""
    arrays = {
        "column": np.ones((MOST, 1), np.int64),
        "row": np.ones((1, MOST), np.int64),
        "places": np.zeros(MOST, np.int64),
        "many": np.arange(MOST, dtype=np.int64),
        "ends": np.array([-(2**63), 2**63 - 1], np.int64),
        "first": np.array(0, np.int64),
        "axis": np.array([0], np.int64),
        "last": np.array(1, np.int64),
    }
    made = linear(arrays)
    made.graph.node.append(helper.make_node("Unsqueeze", ["x", "axis"], ["x3"]))
    made.graph.node.extend(nodes)
    made.opset_import.append(helper.make_opsetid("com.microsoft", 1))
    return made


def node(operator: str, *inputs: str, domain: str = "", **attributes: Any) -> Any:
    return helper.make_node(operator, list(inputs), ["z"], domain=domain, **attributes)


def _chain(operator: str, count: int, first: str, domain: str = "", **attributes: Any) -> list[Any]:
    """Returns nodes each of which reads twice what the last one gives."""
    names = [first, *(f"chain_{i}" for i in range(count))]
    return [
        helper.make_node(operator, [name] * 3, [after], domain=domain, **attributes)
        for name, after in pairwise(names)
    ]


def _range() -> list[Any]:
    ends = [
        helper.make_node("Gather", ["ends", index], [end])
        for index, end in (("first", "low"), ("last", "high"))
    ]
    return [*ends, node("Range", "low", "high", "last")]


def _loops(depth: int, inner: Any) -> Any:
    """Returns Loops in Loops, each of which carries two values that its body exchanges."""
    info = helper.make_tensor_value_info
    for level in range(depth):
        a, b, after = f"a{level}", f"b{level}", f"{level}"
        body = helper.make_graph(
            [inner],
            f"body{level}",
            [
                info(f"i{level}", TensorProto.INT64, []),
                info(f"c{level}", TensorProto.BOOL, []),
                info(a, TensorProto.FLOAT, None),
                info(b, TensorProto.FLOAT, None),
            ],
            [info(name, TensorProto.FLOAT, None) for name in (f"c{level}", b, a)],
        )
        inner = helper.make_node("Loop", ["", "", "x", "w"], [f"p{after}", f"q{after}"], body=body)
    return inner


NODES: dict[str, Callable[[], list[Any]]] = {
    "a sum of a column and a row": lambda: [node("Add", "column", "row")],
    "a choice of a column or a row": lambda: [node("Where", "column", "column", "row")],
    "a remainder of a column by a row": lambda: [node("Mod", "column", "row")],
    "a row for each of many places": lambda: [node("Gather", "row", "places")],
    "a list beside itself ten thousand times": lambda: [
        node("Concat", *["places"] * 10_000, axis=0)
    ],
    "the greatest of a list ten thousand times": lambda: [node("Max", *["places"] * 10_000)],
    "axes that are as many as numbers": lambda: [node("Unsqueeze", "first", "many")],
    "all numbers there are": _range,
    "five hundred lists": lambda: _chain("Max", 500, "places"),
    "an attention without heads": lambda: [
        node(
            "GroupQueryAttention",
            *("x3", "", ""),
            domain="com.microsoft",
            num_heads=0,
            kv_num_heads=0,
        )
    ],
    "an If without branches": lambda: [node("If", "x")],
    "an If whose branches give nothing": lambda: [
        node(
            "If",
            "x",
            **dict.fromkeys(("then_branch", "else_branch"), helper.make_graph([], "g", [], [])),
        )
    ],
    "a Loop that gives nothing": lambda: [
        node("Loop", "", "", "x", body=helper.make_graph([], "g", [], []))
    ],
    "ranks that double": lambda: _chain("Gather", 60, "x"),
    "ranks that double without ONNX's word": lambda: _chain(
        "GatherBlockQuantized", 60, "x", "com.microsoft", gather_axis=0
    ),
    "loops in loops": lambda: [_loops(24, node("Identity", "x"))],
}


@pytest.mark.parametrize("nodes", NODES.values(), ids=NODES.keys())
def test_the_batch_is_followed_past_nodes_that_ask_for_too_much(
    nodes: Callable[[], list[Any]], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(batches, "_MOST_STEPS", 2000)  # so that the test is fast
    path = save(with_nodes(*nodes()), tmp_path / "m.onnx")

    found = Batches(Model(path))

    assert found.of(Value(0, "y")) is not None or "Loops" in found.why(Value(0, "y"))


def test_all_values_together_are_not_more_than_a_limit(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sizes, "_MOST_IN_ALL", 4 * MOST)
    model = Model(save(with_nodes(*_chain("Max", 100, "places")), tmp_path / "m.onnx"))
    found = sizes.Sizes(model, {})

    for scope, _, each in model.nodes():
        found.visit(scope, each)

    assert [found.numbers.get(Value(0, f"chain_{i}")) is not None for i in range(6)] == [
        *[True] * 4,
        *[False] * 2,
    ]


@pytest.mark.parametrize(
    "name", ["a sum of a column and a row", "an attention without heads", "an If without branches"]
)
def test_a_live_graph_of_a_hostile_base_is_made_or_refused(name: str, attack: Attack) -> None:
    attack.inline(with_nodes(*NODES[name]()))

    attack.bear()

    assert attack.convert("--live") is None


def test_what_a_body_computes_is_not_claimed_where_the_node_breaks_its_definition(
    tmp_path: Path,
) -> None:
    info = helper.make_tensor_value_info
    taken = [info("i", TensorProto.INT64, []), info("c", TensorProto.BOOL, [])]
    body = helper.make_graph(
        [helper.make_node("Identity", ["a"], ["inside"])],
        "body",
        [*taken, info("a", TensorProto.FLOAT, None)],
        [info("c", TensorProto.BOOL, [])],  # and not what it carries
    )
    made = linear()
    made.graph.node.append(helper.make_node("Loop", ["", "", "x"], ["z"], body=body))

    found = Batches(Model(save(made, tmp_path / "m.onnx")))

    assert found.of(Value(0, "y")) is not None
    assert found.of(Value(1, "inside")) is None
    assert "is not followed" in found.why(Value(1, "inside"))
