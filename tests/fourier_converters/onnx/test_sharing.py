"""Sharing: what other nodes, outputs and subgraphs read keeps its values."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
import pytest

from tests.fourier_converters.adapters import adapter, delta, save
from tests.fourier_converters.command import Captured, refused
from tests.fourier_converters.graphs import initializers, matrix, model, run, tensor, weight
from tests.fourier_converters.graphs import save as save_model
from tests.fourier_converters.onnx.merged import assert_close, merged, rename

W = weight(6, 4)
SQUARE = weight(5, 5)
LINEAR = """
    g (float[N, 4] x) => (float[N, 6] y) {
        y = MatMul (x, w)
    }
"""


def test_a_tensor_that_only_the_target_reads_is_changed_in_place(tmp_path: Path) -> None:
    text = """
        g (float[N, 4] x) => (float[N, 6] y) {
            t = Transpose (w)
            a = MatMul (x, t)
            b = MatMul (x, t)
            c = Gemm <transB = 1> (x, w)
            d = Add (a, b)
            y = Add (d, c)
        }
    """
    proto = model(text, {"w": W})
    rename(proto, "w", "q.weight")
    whole = adapter({"q": W})

    output = merged(proto, whole, tmp_path)

    assert initializers(output) == ["q.weight"]
    assert_close(tensor(output, "q.weight"), W + delta(whole, "q"))
    assert_close(matrix(output, 4), 3 * (W + delta(whole, "q")))


def test_an_embedding_that_shares_the_tensor_keeps_its_values(tmp_path: Path) -> None:
    text = """
        g (int64[N] ids, float[N, 4] x) => (float[N, 4] e, float[N, 6] y) {
            e = Gather (w, ids)
            t = Transpose (w)
            y = MatMul (x, t)
        }
    """
    proto = model(text, {"w": W})
    rename(proto, "w", "wte.weight")
    whole = adapter({"lm_head": W})

    output = merged(proto, whole, tmp_path)

    ids = np.arange(6)
    e, y = run(output, ids=ids, x=np.eye(4, dtype=np.float32)[[0, 1, 2, 3, 0, 0]])
    assert np.array_equal(e, W)
    assert_close(y[:4].T, W + delta(whole, "lm_head"))
    assert sorted(initializers(output)) == ["wte.weight", "wte.weight.merged"]
    assert "Transpose" not in {n.op_type for n in onnx.load(output).graph.node}


def test_a_tensor_that_is_an_output_keeps_its_values(tmp_path: Path) -> None:
    text = """
        g (float[N, 4] x) => (float[N, 6] y, float[4, 6] w) {
            y = MatMul (x, w)
        }
    """
    whole = adapter({"q": W})

    output = merged(model(text, {"w": W.T}), whole, tmp_path)

    y, w = run(output, x=np.eye(4, dtype=np.float32))
    assert np.array_equal(w, W.T)
    assert_close(y.T, W + delta(whole, "q"))


@pytest.mark.parametrize("name", ["w", "t"])
def test_a_tensor_that_a_subgraph_reads_is_refused(
    name: str, tmp_path: Path, capsys: Captured
) -> None:
    """The subgraph may be a part of the layer; merged in part would be merged wrong."""
    text = f"""
        g (float[N, 5] x, bool c) => (float[N, 5] y, float[5, 5] z) {{
            t = Transpose (w)
            y = MatMul (x, t)
            z = If (c) <
                then_branch = a () => (float[5, 5] o) {{ o = Identity ({name}) }},
                else_branch = b () => (float[5, 5] o) {{ o = Neg ({name}) }}
            >
        }}
    """
    base = save_model(model(text, {"w": SQUARE}), tmp_path / "base.onnx")
    file = save(adapter({"q": SQUARE}), tmp_path)

    lines = refused(capsys, file, "--to", "onnx", "--base", base)

    assert "its weight w is also the result of an If, Loop or Scan" in lines[0]
    assert "its weight w is also read by Neg" in lines[1]
    assert lines[1].endswith("[E-CONVERSION-UNSUPPORTED]")


def test_a_tensor_that_a_subgraph_hands_on_is_refused(tmp_path: Path, capsys: Captured) -> None:
    text = """
        g (float[N, 5] x, bool c) => (float[N, 5] y, float[5, 5] z) {
            y = MatMul (x, w)
            z = If (c) <
                then_branch = a () => (float[5, 5] o) { o = Identity (w) },
                else_branch = b () => (float[5, 5] o) { o = Identity (w) }
            >
        }
    """
    base = save_model(model(text, {"w": SQUARE}), tmp_path / "base.onnx")
    file = save(adapter({"q": SQUARE.T}), tmp_path)

    (line,) = refused(capsys, file, "--to", "onnx", "--base", base)

    assert "its weight w is also the result of an If, Loop or Scan" in line


OTHER_READER = """
    g (float[N, 4] x) => (float[N, 6] y, float[N, 6] z) {
        [one] y = MatMul (x, w)
        [two] z = MatMul (x, w)
    }
"""


def test_a_reader_that_says_nothing_of_its_module_is_refused(
    tmp_path: Path, capsys: Captured
) -> None:
    base = save_model(model(OTHER_READER, {"w": W.T}, {"one": "q"}), tmp_path / "base.onnx")
    file = save(adapter({"q": W}), tmp_path)

    (line,) = refused(capsys, file, "--to", "onnx", "--base", base)

    assert "its weight w is also read by MatMul 'two', which may be a part of it" in line
    assert "say which nodes are meant with --map" in line


@pytest.mark.parametrize("node", ["one", "two"])
def test_the_remedy_that_the_error_names_works(node: str, tmp_path: Path) -> None:
    path = tmp_path / "map.json"
    path.write_text(f'{{"targets": {{"q": {{"node": "{node}"}}}}}}')
    whole = adapter({"q": W})

    output = merged(model(OTHER_READER, {"w": W.T}), whole, tmp_path, "--map", path)

    y, z = run(output, x=np.eye(4, dtype=np.float32))
    changed, kept = (y, z) if node == "one" else (z, y)
    assert_close(changed.T, W + delta(whole, "q"))
    assert np.array_equal(kept.T, W)


@pytest.mark.parametrize("both", [True, False])
def test_targets_that_share_one_tensor_get_one_each(both: bool, tmp_path: Path) -> None:
    text = """
        g (float[N, 4] x) => (float[N, 6] y, float[N, 6] z) {
            [one] y = MatMul (x, w)
            [two] z = MatMul (x, w)
        }
    """
    proto = model(text, {"w": W.T}, {"one": "layer.0.q", "two": "layer.1.q"})
    whole = adapter({"layer.0.q": W} | ({"layer.1.q": W} if both else {}))

    output = merged(proto, whole, tmp_path)

    y, z = run(output, x=np.eye(4, dtype=np.float32))
    assert_close(y.T, W + delta(whole, "layer.0.q"))
    assert_close(z.T, W + (delta(whole, "layer.1.q") if both else 0.0))
    kept = {"w.merged", "w.merged_2"} if both else {"w", "w.merged"}
    assert set(initializers(output)) == kept


def test_one_target_read_in_two_layouts_beside_another_reader_gets_both(tmp_path: Path) -> None:
    text = """
        g (float[N, 5] x, int64[N] ids) => (float[N, 5] y, float[N, 5] z, float[N, 5] e) {
            t = Transpose (w)
            [one] y = MatMul (x, t)
            [two] z = Gemm <transB = 1> (x, w)
            e = Gather (w, ids)
        }
    """
    proto = model(text, {"w": SQUARE}, {"one": "q", "two": "q"})
    whole = adapter({"q": SQUARE})

    output = merged(proto, whole, tmp_path)

    y, z, e = run(output, x=np.eye(5, dtype=np.float32), ids=np.arange(5))
    assert_close(y.T, SQUARE + delta(whole, "q"))
    assert_close(z.T, SQUARE + delta(whole, "q"))
    assert np.array_equal(e, SQUARE)


def test_an_initializer_that_is_an_input_too_can_still_be_fed(tmp_path: Path) -> None:
    text = LINEAR.replace("x)", "x, float[4, 6] w)", 1)
    whole = adapter({"q": W})

    output = merged(model(text, {"w": W.T}), whole, tmp_path)

    (fed,) = run(output, x=np.eye(4, dtype=np.float32), w=W.T)
    assert np.array_equal(fed, W.T)
    assert_close(matrix(output, 4), W + delta(whole, "q"))


def test_what_the_base_leaves_unread_is_its_own_affair(tmp_path: Path) -> None:
    proto = model(LINEAR, {"w": W.T, "unread": np.ones(3, np.float32)})

    output = merged(proto, adapter({"q": W}), tmp_path)

    assert initializers(output) == ["w", "unread"]


def test_a_kernel_that_is_measured_beside_its_convolution_is_merged(tmp_path: Path) -> None:
    text = """
        g (float[N, 3, 5, 5] x) => (float[N, 6, 3, 3] y, int64[4] s) {
            y = Conv (x, w)
            s = Shape (w)
        }
    """
    kernel = weight(6, 27)
    proto = model(text, {"w": kernel.reshape(6, 3, 3, 3)})
    rename(proto, "w", "q.weight")
    whole = adapter({"q": kernel}, kind="conv2d")

    output = merged(proto, whole, tmp_path)

    pixels = np.eye(27, dtype=np.float32).reshape(27, 3, 3, 3)
    x = np.pad(pixels, ((0, 0), (0, 0), (0, 2), (0, 2)))
    y, s = run(output, x=x)
    assert_close(y[:, :, 0, 0].T, kernel + delta(whole, "q"))
    assert s.tolist() == [6, 3, 3, 3]
