"""The batch's axis in small graphs, each with the answer that can be seen in it.

Graphs of real exporters, and rows that are changed in them, are in tests/real/test_batches.py.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from onnx import TensorProto, helper

from fourier_converters.onnx.batches import Batches
from fourier_converters.onnx.model import Model, Value
from fourier_format.adapter import Array
from tests.fourier_converters.graphs import model, save

W = np.ones((4, 4), np.float32)


def shape(*sizes: int) -> Array:
    return np.array(sizes, np.int64)


def batches(proto: Any, folder: Path) -> Batches:
    return Batches(Model(save(proto, folder / "model.onnx")))


def answer(
    body: str, folder: Path, given: str = "float[batch, tokens, 4] x", **arrays: Array
) -> tuple[int, str] | None:
    """Returns the axis and the order in y, as the graph is followed."""
    found = followed(body, folder, given, **arrays).of(Value(0, "y"))
    return None if found is None else (found.axis, found.order)


def place(found: Batches, name: str, scope: int = 0) -> tuple[int, str, str] | None:
    """Returns the axis, the order and the input of a value's batch."""
    batch = found.of(Value(scope, name))
    return None if batch is None else (batch.axis, batch.order, batch.source)


def followed(body: str, folder: Path, given: str, **arrays: Array) -> Batches:
    proto = model(f"g ({given}) => (float y) {{ {body} }}", arrays)
    proto.graph.output[0].ClearField("type")
    proto.opset_import.append(helper.make_opsetid("com.microsoft", 1))
    return batches(proto, folder)


KEPT = {
    "a linear layer": ("y = MatMul (x, w)", (0, "only")),
    "its bias": ("h = MatMul (x, w) y = Add (b, h)", (0, "only")),
    "a table's rows": ("y = Gather (w, i)", (0, "only")),
    "a transpose": ("y = Transpose <perm = [1, 2, 0]> (x)", (2, "only")),
    "a flattening": ("y = Reshape (x, flat)", (0, "slowest")),
    "a flattening that is undone": (
        "h = Reshape (x, flat) g = MatMul (h, w) s = Shape (x) y = Reshape (g, s)",
        (0, "only"),
    ),
    "heads": ("h = Reshape (x, heads) y = Transpose <perm = [0, 2, 1, 3]> (h)", (0, "only")),
    "heads beside rows": (
        """h = Reshape (x, heads) t = Transpose <perm = [0, 2, 1, 3]> (h)
        f = Shape <start = 1, end = 2> (x) s = Concat <axis = 0> (minus, f, two)
        y = Reshape (t, s)""",
        (0, "slowest"),
    ),
    "tokens in front, flattened": (
        "h = Transpose <perm = [1, 0, 2]> (x) y = Reshape (h, flat)",
        (0, "fastest"),
    ),
    "the first token": ("y = Gather <axis = 1> (x, zero)", (0, "only")),
    "a mean over tokens": ("y = ReduceMean <keepdims = 0> (x, one)", (0, "only")),
    "axes that come in front": ("y = Unsqueeze (x, noughts)", (2, "only")),
    "axes that go": ("h = Unsqueeze (x, noughts) y = Squeeze (h, noughts)", (0, "only")),
    "products of two that have the batch": (
        "t = Transpose <perm = [0, 2, 1]> (x) s = MatMul (x, t) p = Softmax (s) y = MatMul (p, x)",
        (0, "only"),
    ),
    "letters": ('y = Einsum <equation = "abc,cd->bad"> (x, w)', (1, "only")),
    "a norm": ("y = LayerNormalization (x, b)", (0, "only")),
    "copies": ("y = Tile (x, twice)", (0, "fastest")),
    "what is the same in each row, once for each": (
        """n = Shape <end = 1> (x) s = Concat <axis = 0> (n, two) z = ConstantOfShape (s)
        y = Gather (w, z)""",
        None,
    ),
    "tables that are repeated for each row": (
        "n = Shape <end = 1> (x) s = Concat <axis = 0> (n, four) y = Expand (b, s)",
        (0, "only"),
    ),
    "com.microsoft's": ("y = com.microsoft.QuickGelu (x)", (0, "only")),
}
ARRAYS = {
    "w": W,
    "b": np.ones(4, np.float32),
    "flat": shape(-1, 4),
    "heads": shape(0, 0, 2, 2),
    "zero": np.array(0),
    "one": shape(1),
    "two": shape(2),
    "four": shape(4),
    "minus": shape(-1),
    "noughts": shape(0, 1),
    "twice": shape(2, 1, 1),
}


@pytest.mark.parametrize("name", KEPT)
def test_the_batch_is_followed_through(name: str, tmp_path: Path) -> None:
    body, expected = KEPT[name]
    given = "float[batch, tokens, 4] x, int64[batch, tokens] i"

    assert answer(body, tmp_path, given, **ARRAYS) == expected


LOST = {
    "an operator that nobody knows": ("y = other.Attention (x)", "Attention 'n'"),
    "one row": ("y = Gather (x, zero)", "picks rows"),
    "some rows": ("y = Slice (x, start, end, at)", "cuts the batch"),
    "rows that are joined": ("y = Concat <axis = 0> (x, x)", "joins parts along the batch"),
    "what all rows share": ("y = Identity (w)", "all rows share it"),
    "tokens put where rows were": ("y = Reshape (x, sizes)", "cuts the batch"),
    "rows that are not zero": ("y = NonZero (x)", "not known to leave rows"),
    "each row with each": (
        "h = ReduceSum <keepdims = 0> (x, one) t = Transpose (h) y = MatMul (h, t)",
        "multiplies each row of the batch with each",
    ),
}


@pytest.mark.parametrize("name", LOST)
def test_there_is_no_answer_for(name: str, tmp_path: Path) -> None:
    body, expected = LOST[name]
    given = "float[batch, tokens, 4] x"
    arrays = ARRAYS | {"start": shape(1), "end": shape(9), "at": shape(0), "sizes": shape(4, -1)}

    found = followed(body.replace("y = other", "[n] y = other"), tmp_path, given, **arrays)

    assert found.of(Value(0, "y")) is None
    assert expected in found.why(Value(0, "y"))


MIXING = {
    "a sum over rows": "s = ReduceSum (x, zeros) y = Add (x, s)",
    "a softmax over rows": "y = Softmax <axis = 0> (x)",
    "attention along the first axis": (
        "h = Transpose <perm = [1, 0, 2]> (x) t = Transpose <perm = [1, 2, 0]> (x)"
        " s = MatMul (h, t) p = Softmax (s) a = MatMul (p, h) o = Transpose <perm = [1, 0, 2]> (a)"
        " y = Add (x, o)"
    ),
    "a normalisation of all": "y = LayerNormalization <axis = 0> (x, x)",
    "a product that sums them": "t = Transpose <perm = [1, 2, 0]> (x) y = MatMul (t, x)",
    "recurrence along them": "y = RNN <hidden_size = 4> (x, r, r)",
}


@pytest.mark.parametrize("name", MIXING)
@pytest.mark.parametrize("first", ["sequence", "batch"])
def test_an_axis_along_which_rows_are_combined_is_no_batch(
    first: str, name: str, tmp_path: Path
) -> None:
    given = f"float[{first}, n, 4] x"
    arrays = {"zeros": shape(0), "r": np.ones((1, 4, 4), np.float32)}

    found = followed(f"h0 = Relu (x) {MIXING[name]}", tmp_path, given, **arrays)

    assert found.of(Value(0, "h0")) is None, "the first axis is refuted for the whole graph"
    assert "axis 0 of 'x' is not the batch" in found.why(Value(0, "h0"))


def test_an_axis_without_its_name_must_reach_every_output(tmp_path: Path) -> None:
    body = "h = Relu (x) y = other.Attention (h)"

    named = followed(body, tmp_path, "float[batch, n, 4] x")
    unnamed = followed(body, tmp_path, "float[n, m, 4] x")

    assert place(named, "h") == (0, "only", "x")
    assert unnamed.of(Value(0, "h")) is None
    assert "not named 'batch'" in unnamed.why(Value(0, "h"))


@pytest.mark.parametrize(
    "moved",
    [
        "n = ScatterND (x, at, u)",
        "n = Slice (x, last, first, zero, last)",
        "n = other.Turn (x)",
        "m = other.Turn (x) n = Relu (m)",
    ],
)
def test_a_sum_with_rows_that_may_have_moved_proves_nothing(moved: str, tmp_path: Path) -> None:
    """Rows in reverse order beside others would each get another's adapter."""
    arrays = {
        "at": np.array([[0]]),
        "u": np.ones((1, 4), np.float32),
        "last": shape(-1),
        "first": shape(-9223372036854775807),
        "zero": shape(0),
    }

    assert answer(f"{moved} y = Mul (x, n)", tmp_path, "float[batch, 4] x", **arrays) is None
    assert answer(f"{moved} y = Add (x, n)", tmp_path, "float[n, 4] x", **arrays) is None


BROKEN = [
    "y = Transpose <perm = [3]> (x)",
    "y = Squeeze (x, far)",
    "y = Softmax <axis = 8> (x)",
    "y = Gather <axis = -9> (x, far)",
    'y = Einsum <equation = "a->a"> (x)',
    "y = Reshape (x, far)",
    "y = Tile (x, b)",
    "y = Split <axis = 7> (x)",
    "y = com.microsoft.FusedMatMul (b, x)",
    "y = LayerNormalization <axis = -7> (b, x)",
]


@pytest.mark.parametrize("body", BROKEN)
def test_a_node_that_breaks_its_definition_does_not_stop_the_search(
    body: str, tmp_path: Path
) -> None:
    arrays = {"far": shape(17), "b": np.ones(4, np.float32)}

    found = followed(f"{body} z = Relu (x)", tmp_path, "float[batch, n, 4] x", **arrays)

    assert place(found, "z") == (0, "only", "x")


INPUTS: list[tuple[str, str | None]] = [
    ("float[batch, 4] x, int64[batch, tokens] other", "x"),
    ("float[tokens, batch, 4] x", "x"),
    ("float[n, 4] x, float[n, m] other", "x"),
    ("float[n, 4] x, float[m, 4] other", None),
    ("float[total] other, float[4, 4] x", "x"),
    ("float[3, 4] x, float[3, 7] other, float[1, 7] mask", "x"),
    ("float[3, 4] x, float[5, 4] other", None),
    ("float[4] x", None),
]


@pytest.mark.parametrize(("given", "source"), INPUTS)
def test_the_batch_is_the_axis_that_inputs_agree_on(
    given: str, source: str | None, tmp_path: Path
) -> None:
    found = followed("y = Identity (x)", tmp_path, given)

    batch = found.of(Value(0, "y"))

    assert (None if batch is None else batch.source) == source
    assert bool(found.why(Value(0, "y"))) == (source is None)


def test_tokens_of_all_rows_one_after_the_other_have_no_batch(tmp_path: Path) -> None:
    given = "int64[total] ids, float[batch, heads, 4] past, int64[tokens] places"
    body = "y = Gather (w, ids) z = Gather (w, places) p = Identity (past)"

    found = followed(body, tmp_path, given, w=W)

    assert place(found, "p") == (0, "only", "past")
    assert found.of(Value(0, "y")) is None
    assert found.why(Value(0, "y")) == "input 'ids' does not say how rows lie in it"


def test_inputs_of_tf2onnx_have_names_that_are_none(tmp_path: Path) -> None:
    given = "float[unk__1, 4] x, float[unk__2, 4] other"

    assert answer("y = Add (x, other)", tmp_path, given) == (0, "only")


def test_a_default_is_no_input(tmp_path: Path) -> None:
    given = "float[batch, 4] x, float[4, 4] w"

    assert answer("y = MatMul (x, w)", tmp_path, given, w=W) == (0, "only")


def test_a_branch_sees_what_is_around_it_and_gives_what_both_do(tmp_path: Path) -> None:
    body = """
        s = ReduceSum <keepdims = 0> (x) c = Greater (s, nought)
        h = Transpose <perm = [1, 0, 2]> (x)
        y = If (c) <
            then_branch = t () => (float[T, B, 4] a) { a = Relu (h) },
            else_branch = e () => (float[T, B, 4] b) { b = MatMul (h, w) }
        >
    """
    found = followed(
        body, tmp_path, "float[batch, tokens, 4] x", w=W, nought=np.array(0, np.float32)
    )

    assert place(found, "y") == (1, "only", "x")
    assert place(found, "a", 1) == place(found, "b", 2) == (1, "only", "x")


def test_branches_that_disagree_have_no_answer(tmp_path: Path) -> None:
    body = """
        y = If (c) <
            then_branch = t () => (float[T, B, 4] a) { a = Relu (x) },
            else_branch = e () => (float[T, B, 4] b) { b = Transpose <perm = [1, 0, 2]> (x) }
        >
    """
    found = followed(body, tmp_path, "float[batch, tokens, 4] x", c=np.array(True))

    assert found.of(Value(0, "y")) is None
    assert "If" in found.why(Value(0, "y"))


@pytest.mark.parametrize(("operator", "axis"), [("Relu", 0), ("Transpose", None)])
def test_a_loop_gives_what_it_leaves_in_its_place(
    operator: str, axis: int | None, tmp_path: Path
) -> None:
    inner = helper.make_graph(
        [
            helper.make_node("Identity", ["go"], ["on"]),
            helper.make_node(
                operator, ["v"], ["u"], **({"perm": [1, 0, 2]} if operator == "Transpose" else {})
            ),
        ],
        "body",
        [
            helper.make_tensor_value_info("i", TensorProto.INT64, []),
            helper.make_tensor_value_info("go", TensorProto.BOOL, []),
            helper.make_tensor_value_info("v", TensorProto.FLOAT, None),
        ],
        [
            helper.make_tensor_value_info("on", TensorProto.BOOL, []),
            helper.make_tensor_value_info("u", TensorProto.FLOAT, None),
        ],
    )
    proto = model("g (float[batch, tokens, 4] x) => (float y) { y = Relu (x) }", {})
    proto.graph.node[0].CopyFrom(
        helper.make_node("Loop", ["n", "", "x"], ["y"], name="loop", body=inner)
    )
    proto.graph.initializer.append(helper.make_tensor("n", TensorProto.INT64, [], [3]))

    found = batches(proto, tmp_path).of(Value(0, "y"))

    assert (None if found is None else found.axis) == axis


def test_static_sizes_are_followed_by_place_and_not_by_number(tmp_path: Path) -> None:
    """Batch, tokens and heads are all as many."""
    body = (
        "h = Reshape (x, split) t = Transpose <perm = [0, 2, 1, 3]> (h) f = Reshape (t, joined)"
        " r = Reshape (f, apart) y = Transpose <perm = [2, 1, 0, 3]> (r)"
    )
    arrays = {"split": shape(3, 3, 3, 2), "joined": shape(9, 3, 2), "apart": shape(3, 3, 3, 2)}

    assert answer(body, tmp_path, "float[3, 3, 6] x", **arrays) == (2, "only")


def test_a_batch_of_one_stays_where_it_stood(tmp_path: Path) -> None:
    body = "h = Reshape (x, split) y = Transpose <perm = [0, 2, 1, 3]> (h)"

    assert answer(body, tmp_path, "float[1, 3, 6] x", split=shape(1, 3, 3, 2)) == (0, "only")


def test_the_rank_is_told_where_it_is_known(tmp_path: Path) -> None:
    found = followed("y = Reshape (x, flat)", tmp_path, "float[batch, n, 4] x", **ARRAYS)

    ranks = [batch and batch.rank for batch in (found.of(Value(0, name)) for name in "xy")]
    assert ranks == [3, 2]


def test_what_is_read_before_it_is_computed_is_not_shared_by_all_rows(tmp_path: Path) -> None:
    """ONNX Runtime puts nodes in order itself."""
    body = "y = Add (x, t) t = Transpose <perm = [1, 0, 2]> (x)"

    found = followed(body, tmp_path, "float[batch, tokens, 4] x")

    assert found.of(Value(0, "y")) is None
    assert "'t' is read before the node that computes it" in found.why(Value(0, "y"))
