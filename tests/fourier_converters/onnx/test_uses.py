"""Uses: the operator and the way to it say how a weight is stored, whatever its values."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from fourier_converters.onnx.model import Model, Read, Value
from fourier_converters.onnx.uses import Use, find_uses, readers
from fourier_converters.onnx.views import Transposed, View
from tests.fourier_converters.graphs import model, save, weight


def opened(
    body: str, arrays: dict[str, Any], folder: Path, outputs: str = "float[N, 6] y"
) -> Model:
    text = f"g (float[N, 4] x) => ({outputs}) {{ {body} }}"
    return Model(save(model(text, arrays), folder / "m.onnx"))


def uses(body: str, shape: tuple[int, ...], folder: Path) -> list[Use]:
    """Returns the uses of the initializer w, of the given shape."""
    return find_uses(opened(body, {"w": np.ones(shape, np.float32)}, folder))


def layout(view: View | None) -> str:
    """Returns how the canonical matrix lies in what `view` starts from."""
    assert view is not None
    assert view.steps in {(), (Transposed((1, 0)),)}
    return "in_out" if view.steps else "out_in"


@pytest.mark.parametrize(
    ("body", "expected"),
    [
        ("y = MatMul (x, w)", "in_out"),
        ("y = Gemm (x, w)", "in_out"),
        ("y = Gemm <transB = 0> (x, w)", "in_out"),
        ("y = Gemm <transB = 1> (x, w)", "out_in"),
        ("y = Gemm <alpha = 1.0, beta = 0.5, transB = 1> (x, w)", "out_in"),
        ("t = Identity (w) y = MatMul (x, t)", "in_out"),
        ("t = Transpose (w) y = MatMul (x, t)", "out_in"),
        ("t = Transpose <perm = [1, 0]> (w) y = MatMul (x, t)", "out_in"),
        ("t = Transpose <perm = [0, 1]> (w) y = MatMul (x, t)", "in_out"),
        ("t = Transpose (w) u = Transpose (t) y = MatMul (x, u)", "in_out"),
        ("t = Transpose (w) y = Gemm <transB = 1> (x, t)", "in_out"),
        ("t = Cast <to = 1> (w) u = Transpose (t) v = Identity (u) y = MatMul (x, v)", "out_in"),
    ],
)
def test_the_layout_follows_the_operator_and_the_transposes(
    body: str, expected: str, tmp_path: Path
) -> None:
    (use,) = uses(body, (4, 4), tmp_path)

    assert layout(use.view) == expected
    assert layout(use.operand) == ("out_in" if "transB = 1" in body else "in_out")


@pytest.mark.parametrize(
    ("body", "shape", "canonical"),
    [
        ("y = MatMul (x, w)", (4, 6), (6, 4)),
        ("y = Gemm <transB = 1> (x, w)", (6, 4), (6, 4)),
        ("t = Transpose (w) y = MatMul (x, t)", (6, 4), (6, 4)),
        ("y = Gather (w, x)", (6, 4), (4, 6)),
        ("y = Gather <axis = 1> (w, x)", (6, 4), None),
        ("y = Conv (x, w)", (6, 4, 3, 2), (6, 24)),
        ("y = Conv (x, w)", (6, 4, 3), None),
        ('y = Einsum <equation = "abc,cde->abde"> (x, w)', (4, 3, 2), (6, 4)),
        ('y = Einsum <equation = "abde,dec->abc"> (x, w)', (3, 2, 4), (4, 6)),
        ('y = Einsum <equation = "...c,co->...o"> (x, w)', (4, 6), (6, 4)),
        ('y = Einsum <equation = "ab,ab->ab"> (x, w)', (4, 6), None),
        ("y = com.microsoft.FusedMatMul <transB = 1> (x, w)", (6, 4), (6, 4)),
        ("y = com.microsoft.Attention <num_heads = 2> (x, w)", (4, 18), (18, 4)),
        ("y = Mul (x, w)", (4, 4), None),
    ],
)
def test_the_canonical_shape_is_out_by_in(
    body: str, shape: tuple[int, ...], canonical: tuple[int, int] | None, tmp_path: Path
) -> None:
    (use,) = uses(body, shape, tmp_path)

    assert use.canonical_shape == canonical


@pytest.mark.parametrize(
    "body",
    [
        "y = MatMul (w, x)",
        "t = Transpose <perm = [0, 2, 1]> (w) y = MatMul (x, t)",
        "t = Mul (x, x) y = MatMul (x, t)",
        "t = Reshape (w, x) y = MatMul (x, t)",
        "s = Constant <value = int64[2] {5, -1}> () t = Reshape (w, s) y = MatMul (x, t)",
        "y = com.microsoft.FusedMatMul <transA = 1> (x, w)",
        "t = Cast <to = 7> (w) y = MatMul (x, t)",
        "y = Relu (w)",
        "y = Gemm <alpha = 2.0> (x, w)",
        "y = Gemm <transA = 1> (x, w)",
        "y = com.microsoft.MatMul (x, w)",
        "t = com.microsoft.Transpose (w) y = MatMul (x, t)",
    ],
)
def test_what_cannot_be_followed_is_no_use(body: str, tmp_path: Path) -> None:
    assert uses(body, (4, 4), tmp_path) == []


@pytest.mark.parametrize(("passed", "found"), [(64, 1), (65, 0)])
def test_a_chain_that_no_exporter_writes_is_not_followed(
    passed: int, found: int, tmp_path: Path
) -> None:
    chain = " ".join(f"w{i + 1} = Identity (w{i})" for i in range(passed))
    body = f"{chain} y = MatMul (x, w{passed})".replace("(w0)", "(w)")

    assert len(uses(body, (4, 6), tmp_path)) == found


@pytest.mark.parametrize(
    ("way", "expected"),
    [
        ("s = Constant <value = int64[2] {6, -1}> () t = Reshape (w, s)", (4, 6)),
        ("s = Constant <value = int64[2] {0, -1}> () t = Reshape (w, s)", (12, 2)),
        (
            "a = Constant <value = int64[1] {1}> () u = Unsqueeze (w, a) t = Flatten <axis=3> (u)",
            (4, 6),
        ),
        ("t = Flatten <axis = 2> (w)", (4, 6)),
    ],
)
def test_a_weight_is_followed_through_reshapes(
    way: str, expected: tuple[int, int], tmp_path: Path
) -> None:
    (use,) = uses(f"{way} y = MatMul (x, t)", (2, 3, 4), tmp_path)

    assert use.canonical_shape == expected
    stored = np.arange(24, dtype=np.float32).reshape(2, 3, 4)
    matrix = use.view.apply(stored)
    assert matrix.shape == expected
    assert np.array_equal(matrix.T.reshape(-1), np.arange(24))
    assert np.array_equal(use.view.invert(matrix), stored)


def test_the_table_behind_a_transpose_is_the_transposed_one(tmp_path: Path) -> None:
    (use,) = uses("t = Transpose (w) y = Gather (t, x)", (4, 6), tmp_path)

    assert (use.kind, use.canonical_shape) == ("embedding", (4, 6))
    assert use.view.steps == ()


def test_the_dtype_is_the_stored_one_and_the_operands_comes_from_the_last_cast(
    tmp_path: Path,
) -> None:
    body = "t = Cast <to = 11> (w) u = Cast <to = 1> (t) y = MatMul (x, u)"

    (use,) = find_uses(opened(body, {"w": np.ones((4, 6), np.float16)}, tmp_path))

    assert (use.origin.dtype, use.origin.operand_dtype) == ("F16", "F32")


def test_weights_of_integers_are_not_used_as_weights(tmp_path: Path) -> None:
    body = "t = Cast <to = 1> (w) y = MatMul (x, t)"

    assert find_uses(opened(body, {"w": np.ones((4, 6), np.int8)}, tmp_path)) == []


class TestReaders:
    BODY = """
        t = Transpose (w)
        u = Cast <to = 1> (t)
        y = MatMul (x, u)
        z = MatMul (x, w)
        i = Identity (w)
    """

    def test_all_final_readers_are_found(self, tmp_path: Path) -> None:
        found = opened(self.BODY, {"w": np.ones((4, 4), np.float32)}, tmp_path)

        everyone = readers(found, Value(0, "w"))
        assert everyone.reads == {Read(2, 1), Read(3, 1)}
        assert everyone.only_reads

    @pytest.mark.parametrize("output", ["w", "t", "u", "i"])
    def test_a_value_that_is_an_output_has_readers_outside(
        self, output: str, tmp_path: Path
    ) -> None:
        outputs = f"float[N, 4] y, float[4, 4] {output}"
        found = opened(self.BODY, {"w": np.ones((4, 4), np.float32)}, tmp_path, outputs)

        assert readers(found, Value(0, "w")).shown

    @pytest.mark.parametrize("name", ["w", "t"])
    @pytest.mark.parametrize("depth", [1, 2])
    def test_a_value_that_a_subgraph_hands_on_has_more_than_reads(
        self, name: str, depth: int, tmp_path: Path
    ) -> None:
        body = "t = Transpose (w) y = MatMul (x, t) c = Constant <value = bool {1}> () "
        body += _branches(name, depth)
        found = opened(body, {"w": np.ones((4, 4), np.float32)}, tmp_path)

        assert readers(found, Value(0, "w")).handed_on


def _branches(name: str, depth: int) -> str:
    """Returns an If whose branches, at some depth, read `name`."""
    inner = f"o = Identity ({name})" if depth == 1 else _branches(name, depth - 1)
    graphs = (f"{side}_branch = b () => (float[4, 4] o) {{ {inner} }}" for side in ("then", "else"))
    return f"o = If (c) <{', '.join(graphs)}>"


def test_two_operators_of_one_weight_are_two_uses(tmp_path: Path) -> None:
    body = "y = MatMul (x, w) z = Gemm <transB = 1> (y, w)"

    found = uses(body, (4, 4), tmp_path)

    assert [(u.read, layout(u.view)) for u in found] == [
        (Read(0, 1), "in_out"),
        (Read(1, 1), "out_in"),
    ]


def test_a_ring_of_nodes_ends(tmp_path: Path) -> None:
    body = "a = Identity (b) b = Identity (a) y = MatMul (x, a)"

    assert uses(body, (4, 4), tmp_path) == []


def test_a_fresh_name_is_one_that_nothing_has(tmp_path: Path) -> None:
    found = opened("w_2 = MatMul (x, w) y = Relu (w_2)", {"w": weight().T}, tmp_path)

    assert [found.fresh_name(n) for n in ("w", "w", "x", "y", "new")] == [
        "w_3",
        "w_4",
        "x_2",
        "y_2",
        "new",
    ]
