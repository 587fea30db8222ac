"""Kinds of target: convolutions, embeddings and einsum kernels, end to end against NumPy."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest

from fourier_format.adapter import Array
from tests.fourier_converters.adapters import delta, save
from tests.fourier_converters.command import Captured, refused
from tests.fourier_converters.graphs import run, tensor, weight
from tests.fourier_converters.graphs import save as save_model
from tests.fourier_converters.onnx.branched import (
    adapter,
    assert_added,
    convolved,
    inputs,
    merge,
    set_shape,
    without_prints,
)
from tests.fourier_converters.onnx.quantised import IN, OUT, Layer, W


def values(*shape: int, seed: int = 0) -> Array:
    return np.random.default_rng(seed).standard_normal(shape).astype(np.float32)


def shaped(layer: Layer, given: list[Any], got: list[Any]) -> Any:
    """Returns the model with these shapes of x and y."""
    return set_shape(layer.model(), given, got)


def difference(folder: Path, x: Array) -> Array:
    before, after = (run(folder / name, x=x)[0] for name in ("base.onnx", "merged.onnx"))
    result: Array = after.astype(np.float64) - before
    return result


@pytest.mark.parametrize("make", [adapter, without_prints])
@pytest.mark.parametrize("operator", ["Conv", "com.microsoft.FusedConv"])
@pytest.mark.parametrize(
    ("kernel", "groups", "strides"),
    [((6, 4, 3, 3), 1, (1, 1)), ((6, 2, 3, 3), 2, (2, 1)), ((4, 1, 3, 3), 4, (1, 1))],
    ids=["plain", "two groups", "depthwise"],
)
def test_a_convolution(
    kernel: tuple[int, ...],
    groups: int,
    strides: tuple[int, int],
    operator: str,
    make: Any,
    tmp_path: Path,
) -> None:
    w = values(*kernel)
    attributes = f"group = {groups}, pads = [1, 1, 1, 1], strides = [{strides[0]}, {strides[1]}]"
    body = f" [q] y = {operator} <{attributes}> (x, w)"
    proto = shaped(Layer(body, {"w": w}), ["N", 4, "H", "V"], ["N", kernel[0], "I", "J"])
    whole = make({"enc.q": w.reshape(kernel[0], -1)}, kind="conv2d")

    merge(proto, whole, tmp_path)

    x = values(2, 4, 7, 5, seed=1)
    change = delta(whole, "enc.q").reshape(kernel)
    assert_added(difference(tmp_path, x), convolved(x, change, groups, strides))


def test_a_convolution_of_single_pixels(tmp_path: Path) -> None:
    w = values(6, 4, 1, 1)
    proto = shaped(Layer(" [q] y = Conv (x, w)", {"w": w}), ["N", 4, "H", "V"], ["N", 6, "H", "V"])
    whole = adapter({"enc.q": w.reshape(6, 4)}, kind="conv2d")

    merge(proto, whole, tmp_path)

    x = values(2, 4, 5, 3, seed=1)
    expected = np.einsum("nihw,oi->nohw", x, delta(whole, "enc.q"))
    assert_added(difference(tmp_path, x), expected)


def test_kerass_kernels_are_convolutions_behind_a_transpose(tmp_path: Path) -> None:
    """HWIO in the framework, OIHW in the graph: the adapter knows neither, but (out, in)."""
    hwio = values(3, 3, 4, 6)
    body = """
        t = Transpose <perm = [3, 2, 0, 1]> (w)
        [q] y = Conv <pads = [1, 1, 1, 1]> (x, t)
    """
    proto = shaped(Layer(body, {"w": hwio}), ["N", 4, "H", "V"], ["N", 6, "I", "J"])
    whole = adapter({"enc.q": hwio.transpose(3, 2, 0, 1).reshape(6, 36)}, kind="conv2d")

    output = merge(proto, whole, tmp_path)

    x = values(1, 4, 5, 5, seed=1)
    change = delta(whole, "enc.q").reshape(6, 4, 3, 3)
    assert_added(difference(tmp_path, x), convolved(x, change, 1, (1, 1)))
    assert tensor(output, "w").shape == hwio.shape


def test_a_kernel_of_another_kind_is_not_a_linear_layers(tmp_path: Path, capsys: Captured) -> None:
    w = values(6, 4, 1, 1)
    proto = shaped(Layer(" [q] y = Conv (x, w)", {"w": w}), ["N", 4, "H", "V"], ["N", 6, "H", "V"])
    base = save_model(proto, tmp_path / "base.onnx")
    file = save(adapter({"enc.q": w.reshape(6, 4)}), tmp_path)

    (line,) = refused(capsys, file, "--to", "onnx", "--base", base)

    assert line.endswith("[E-TARGET-NOT-FOUND]")


class TestEmbeddings:
    @staticmethod
    def proto(layer: Layer, width: int = IN) -> Any:
        proto = shaped(layer, ["N"], ["N", width])
        proto.graph.input[0].type.tensor_type.elem_type = onnx.TensorProto.INT64
        return proto

    @pytest.mark.parametrize("make", [adapter, without_prints])
    def test_a_table(self, make: Any, tmp_path: Path) -> None:
        table = values(OUT, IN)
        proto = self.proto(Layer(" [q] y = Gather (w, x)", {"w": table}))
        whole = make({"enc.q": table.T}, kind="embedding")

        merge(proto, whole, tmp_path)

        ids = np.array([0, 5, 5, 23])
        assert_added(difference(tmp_path, ids), delta(whole, "enc.q").T[ids])

    def test_a_table_that_a_head_shares_is_changed_alone(self, tmp_path: Path) -> None:
        table = values(OUT, IN)
        body = " [q] e = Gather (w, x) t = Transpose (w) [head] y = MatMul (e, t)"
        proto = self.proto(Layer(body, {"w": table}), OUT)
        for node, name in zip(proto.graph.node, ["/q/Gather", "", "/head/MatMul"], strict=True):
            node.name = name
        whole = adapter({"q": table.T}, kind="embedding")

        merge(proto, whole, tmp_path)

        ids = np.array([0, 5, 5, 23])
        expected = (table + delta(whole, "q").T)[ids] @ table.T.astype(np.float64)
        (y,) = run(tmp_path / "merged.onnx", x=ids)
        assert np.abs(y - expected).max() <= 1e-5 * np.abs(expected).max()


class TestEinsums:
    @pytest.mark.parametrize("make", [adapter, without_prints])
    @pytest.mark.parametrize("kind", ["einsum_dense", "linear"])
    @pytest.mark.parametrize(
        ("equation", "shape", "order", "given", "got"),
        [
            ("abc,cd->abd", (IN, OUT), (1, 0), (2, 3, IN), (2, 3, OUT)),
            ("abc,cde->abde", (IN, 4, 6), (1, 2, 0), (2, 3, IN), (2, 3, 4, 6)),
            ("abde,dec->abc", (4, 10, OUT), (2, 0, 1), (2, 3, 4, 10), (2, 3, OUT)),
            ("...i,oi->...o", (OUT, IN), (0, 1), (2, 3, IN), (2, 3, OUT)),
        ],
    )
    def test_a_kernel(
        self,
        equation: str,
        shape: tuple[int, ...],
        order: tuple[int, ...],
        given: tuple[int, ...],
        got: tuple[int, ...],
        kind: str,
        make: Any,
        tmp_path: Path,
    ) -> None:
        kernel = W.reshape([shape[axis] for axis in order]).transpose(np.argsort(order))
        body = f' [q] y = Einsum <equation = "{equation}"> (x, w)'
        whole = make({"enc.q": W}, kind=kind)

        merge(shaped(Layer(body, {"w": kernel}), [*given], [*got]), whole, tmp_path)

        x = inputs(6)
        change = difference(tmp_path, x.reshape(given)).reshape(6, OUT)
        assert_added(change, x @ delta(whole, "enc.q").T)

    def test_kerass_kernels_are_reshaped_by_its_exporter(self, tmp_path: Path) -> None:
        """A query kernel (d, heads, h) becomes (d, heads * h), read by a MatMul."""
        kernel = values(IN, 4, 6)
        body = " t = Reshape (w, s) [q] y = MatMul (x, t)"
        whole = adapter({"enc.q": kernel.reshape(IN, OUT).T}, kind="einsum_dense")

        output = merge(Layer(body, {"w": kernel, "s": np.array([IN, -1])}).model(), whole, tmp_path)

        x = inputs()
        assert_added(difference(tmp_path, x), x @ delta(whole, "enc.q").T)
        assert tensor(output, "w").shape == kernel.shape


@pytest.mark.parametrize(
    ("body", "stored", "factor"),
    [
        ("[q] y = com.microsoft.FusedMatMul <alpha = 0.25> (x, w)", W.T, 0.25),
        ("[q] y = com.microsoft.FusedMatMul <transB = 1> (x, w)", W, 1),
        ("[q] m = MatMul (x, w) y = com.microsoft.BiasGelu (m, b)", W.T, None),
        (
            '[q] y = com.microsoft.FusedGemm <transB = 1, activation = "Relu"> (x, w, b)',
            W,
            None,
        ),
    ],
)
def test_fused_operators_read_plain_weights(
    body: str, stored: Array, factor: float | None, tmp_path: Path
) -> None:
    arrays = {"w": stored} | ({"b": weight(1, OUT)[0]} if factor is None else {})
    whole = adapter({"enc.q": W})

    output = merge(Layer(f" {body}", arrays).model(), whole, tmp_path)

    merged = tensor(output, "w") if stored is W else tensor(output, "w").T
    assert np.allclose(merged, W + delta(whole, "enc.q"), atol=1e-5)
    x = inputs()
    if factor is None:
        assert np.isfinite(run(output, x=x)[0]).all()
    else:
        assert_added(difference(tmp_path, x), factor * x @ delta(whole, "enc.q").T)
