"""Requantising: the base's own codes for base + delta, as near as they come, and what they lose."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Final

import ml_dtypes
import numpy as np
import onnx
import pytest
from onnx import numpy_helper

from fourier_format import Adapter
from fourier_format.adapter import Array
from tests.fourier_converters.adapters import delta, save, without_prints
from tests.fourier_converters.command import Captured, as_json, convert, refused
from tests.fourier_converters.graphs import digests, run, tensor
from tests.fourier_converters.graphs import save as save_model
from tests.fourier_converters.onnx.quantised import (
    IN,
    OUT,
    Layer,
    W,
    cast_and_mul,
    dequantize_linear,
    integer,
    nbits,
    run_plainly,
)

FORMS: Final = {
    **{
        f"MatMulNBits int{bits}, {zero} zero points": nbits(bits, 16, zero)
        for bits in (2, 4, 8)
        for zero in ("none", "packed", "float")
        if (bits, zero) != (8, "float")
    },
    **{
        f"QDQ {np.dtype(dtype).name} {'symmetric' if symmetric else 'asymmetric'} {each}": (
            dequantize_linear(each, dtype, symmetric=symmetric)
        )
        for dtype in (np.int8, np.uint8, np.int16, ml_dtypes.int4, ml_dtypes.uint4)
        for each in ("tensor", "channel", "block")
        for symmetric in (True, False)
        if not symmetric or np.dtype(dtype).name.startswith("i")
    },
    "Gemm behind a DequantizeLinear": dequantize_linear("channel", operator="Gemm"),
    "Cast and Mul": cast_and_mul(),
    "MatMulInteger": integer("MatMulInteger"),
    "MatMulIntegerToFloat": integer("MatMulIntegerToFloat", "tensor"),
    "DynamicQuantizeMatMul": integer("DynamicQuantizeMatMul"),
    "float16 MatMulNBits": nbits(8, dtype=np.float16),
    "float16 scales of a DequantizeLinear": dequantize_linear("channel", scales=np.float16),
}


class Requantised:
    """A layer merged by requantising: its weights before and after, and the report."""

    def __init__(self, proto: Any, whole: Adapter, folder: Path, capsys: Captured) -> None:
        base = save_model(proto, folder / "base.onnx")
        self.output = folder / "merged.onnx"
        more = ("-o", self.output, "--force", "--quantized", "requantize")
        code, found = as_json(capsys, save(whole, folder), "--to", "onnx", "--base", base, *more)
        assert code == 0, found
        onnx.checker.check_model(self.output)
        self.rows = found["rows"]
        self.notes = found["notes"]
        self.base = base

    def before(self, layer: Layer) -> Array:
        return weight_of(self.base, layer)

    def after(self, layer: Layer) -> Array:
        return weight_of(self.output, layer)


def weight_of(path: Path, layer: Layer) -> Array:
    """Returns the float64 weight, (out, in), that ONNX Runtime computes with."""
    eye = np.eye(IN, dtype=layer.dtype)
    return run_plainly(path, x=eye).T.astype(np.float64)


def steps(path: Path, like: Array) -> Array:
    """Returns one quantisation step for each value of the (out, in) weight."""
    proto = onnx.load(path)
    (scale,) = [
        numpy_helper.to_array(t).astype(np.float64)
        for t in proto.graph.initializer
        if t.name in {"w_scale", "w_scales"}
    ]
    if scale.size == 1:
        return np.full(like.shape, scale.item())
    if scale.ndim == 1 or 1 in scale.shape:
        return np.broadcast_to(scale.reshape(-1, 1), like.shape)
    by_rows = scale if scale.shape[0] == OUT else scale.T  # (out, blocks)
    return np.repeat(by_rows, 16, axis=1)[:, :IN]


@pytest.mark.parametrize("name", FORMS)
@pytest.mark.parametrize("alpha", [30.0, 3000.0])
def test_no_value_is_further_off_than_half_a_step(
    alpha: float, name: str, tmp_path: Path, capsys: Captured
) -> None:
    layer = FORMS[name]
    whole = without_prints({"enc.q": W}, alpha=alpha)

    done = Requantised(layer.model(), whole, tmp_path, capsys)

    exact = done.before(layer) + delta(whole, "enc.q")
    error = np.abs(done.after(layer) - exact)
    noise = (1e-5 if layer.dtype == np.float32 else 2e-3) * np.abs(exact).max()
    assert (error <= 0.5 * steps(done.output, exact) + noise).all()


@pytest.mark.parametrize("name", [name for name in FORMS if "float16" not in name])
def test_what_survives_is_what_onnx_runtime_computes(
    name: str, tmp_path: Path, capsys: Captured
) -> None:
    layer = FORMS[name]
    whole = without_prints({"enc.q": W}, alpha=30.0)

    done = Requantised(layer.model(), whole, tmp_path, capsys)

    wanted = delta(whole, "enc.q")
    changed = done.after(layer) - done.before(layer)
    (row,) = done.rows
    assert row["kept"] == pytest.approx((changed * wanted).sum() / (wanted**2).sum(), abs=1e-4)
    assert "were requantised" in done.notes[0]


@pytest.mark.parametrize("name", FORMS)
def test_a_change_far_below_a_step_changes_no_code(
    name: str, tmp_path: Path, capsys: Captured
) -> None:
    layer = FORMS[name]

    done = Requantised(layer.model(), without_prints({"enc.q": W}, alpha=1e-5), tmp_path, capsys)

    (row,) = done.rows
    assert row["kept"] == 0.0
    for stored in layer.model().graph.initializer:
        assert np.array_equal(tensor(done.output, stored.name), numpy_helper.to_array(stored))


@pytest.mark.parametrize("dtype", [np.int8, ml_dtypes.int4])
def test_the_form_of_the_model_stays(dtype: Any, tmp_path: Path, capsys: Captured) -> None:
    proto = dequantize_linear("block", dtype).model()

    done = Requantised(proto, without_prints({"enc.q": W}), tmp_path, capsys)

    after = onnx.load(done.output)
    assert after.graph.node == proto.graph.node
    assert [(t.name, t.data_type, t.dims) for t in after.graph.initializer] == [
        (t.name, t.data_type, t.dims) for t in proto.graph.initializer
    ]


def test_the_rows_of_other_layers_keep_their_codes(tmp_path: Path, capsys: Captured) -> None:
    w = np.concatenate([W, 2 * W[::-1], 3 * W])
    layer = nbits(4, 16, "packed", w=w).then("y, k, v = Split <axis = -1, num_outputs = 3> (h)")
    proto = layer.model()
    proto.graph.node[0].name = "/enc/qkv/MatMul"
    whole = without_prints({"enc.k_proj": W}, alpha=3000.0)
    path = tmp_path / "map.json"
    path.write_text('{"targets": {"enc.k_proj": {"node": "/enc/qkv/MatMul", "rows": [24, 48]}}}')
    base = save_model(proto, tmp_path / "base.onnx")
    output = tmp_path / "merged.onnx"
    more = ("--map", path, "-o", output, "--quantized", "requantize", "--quiet")

    assert convert(save(whole, tmp_path), "--to", "onnx", "--base", base, *more) == 0

    for name in ("w_Q", "w_scales", "w_zero_points"):
        before, after = layer.arrays[name], tensor(output, name)
        assert np.array_equal(before[:OUT], after[:OUT])
        assert np.array_equal(before[2 * OUT :], after[2 * OUT :])
        assert not np.array_equal(before, after)


def test_a_trained_weight_is_rounded_too(tmp_path: Path, capsys: Captured) -> None:
    layer = nbits(8)
    new = 3 * W[::-1]
    whole = without_prints({"enc.q": W}, replacements={"enc.q.weight": new})

    done = Requantised(layer.model(), whole, tmp_path, capsys)

    exact = new + delta(whole, "enc.q")
    error = np.abs(done.after(layer) - exact)
    assert (error <= 0.5 * steps(done.output, exact) + 1e-5).all()


def test_the_share_that_is_kept_stands_in_the_table(tmp_path: Path, capsys: Captured) -> None:
    base = save_model(nbits(8).model(), tmp_path / "base.onnx")
    file = save(without_prints({"enc.q": W}, alpha=300.0), tmp_path)
    arguments = (file, "--to", "onnx", "--base", base, "--quantized", "requantize", "--dry-run")
    _, found = as_json(capsys, *arguments)

    assert convert(*arguments) == 0

    header, row, *_ = capsys.readouterr().out.splitlines()
    assert header.endswith("kept")
    assert row.endswith(f"{found['rows'][0]['kept']:.1%}")


def test_codes_are_chosen_for_the_scale_as_it_is_stored(tmp_path: Path, capsys: Captured) -> None:
    """A scale in float16 is up to 2^-12 off, which is a tenth of a step for the largest codes."""
    layer = dequantize_linear("channel", np.int16, scales=np.float16)
    whole = without_prints({"enc.q": W}, alpha=3000.0)

    done = Requantised(layer.model(), whole, tmp_path, capsys)

    old = layer.arrays["w_quantized"] * layer.arrays["w_scale"].astype(np.float64)
    exact = old + delta(whole, "enc.q").T
    codes = tensor(done.output, "w_quantized")
    scale = tensor(done.output, "w_scale").astype(np.float64)
    assert not np.array_equal(scale, layer.arrays["w_scale"])
    inner = np.abs(codes.astype(int)) < 2**15 - 1  # at the ends the range itself is rounded
    error = np.abs(codes * scale - exact)
    assert (error <= 0.5 * scale * (1 + 1e-9))[inner].all()


class TestScalesThatHoldNoMore:
    """Groups whose new values do not fit, where the zero point cannot move freely."""

    def test_codes_without_a_sign_nor_a_zero_point(self, tmp_path: Path, capsys: Captured) -> None:
        """Nothing below zero can be held; the rest still is."""
        scale = np.float32(np.abs(W).max() / 255)
        arrays = {"w_quantized": np.rint(np.abs(W).T / scale).astype(np.uint8)}
        layer = dequantize_linear()
        layer = Layer(layer.body, arrays | {"w_scale": np.array(scale)})
        whole = without_prints({"enc.q": W}, alpha=3000.0)

        done = Requantised(layer.model(), whole, tmp_path, capsys)

        exact = np.maximum(done.before(layer) + delta(whole, "enc.q"), 0)
        error = np.abs(done.after(layer) - exact)
        step = steps(done.output, exact)
        assert step.max() == pytest.approx(exact.max() / 255)
        assert (error <= 0.5 * step + 1e-5).all()

    def test_one_zero_point_for_many_scales(self, tmp_path: Path, capsys: Captured) -> None:
        layer = integer("DynamicQuantizeMatMul")
        codes = (layer.arrays["w_quantized"].astype(int) + 120).astype(np.uint8)
        arrays = layer.arrays | {"w_quantized": codes, "w_zero_point": np.array(120, np.uint8)}
        layer = Layer(layer.body, arrays)
        whole = without_prints({"enc.q": W}, alpha=3000.0)

        done = Requantised(layer.model(), whole, tmp_path, capsys)

        exact = done.before(layer) + delta(whole, "enc.q")
        error = np.abs(done.after(layer) - exact)
        assert (error <= 0.5 * steps(done.output, exact) + 1e-4).all()


def test_a_layer_that_is_called_twice_is_rounded_once(tmp_path: Path, capsys: Captured) -> None:
    """quantize_static writes a DequantizeLinear for each call."""
    layer = dequantize_linear()
    second = " d2 = DequantizeLinear (w_quantized, w_scale) [r] z = MatMul (x, d2)"
    proto = Layer(layer.body + second, layer.arrays).model()
    proto.graph.node[3].name = "/enc/q_1/MatMul"
    proto.graph.output.add().CopyFrom(proto.graph.output[0])
    proto.graph.output[1].name = "z"
    whole = without_prints({"enc.q": W}, alpha=3000.0)

    done = Requantised(proto, whole, tmp_path, capsys)

    y, z = run(done.output, x=np.eye(IN, dtype=np.float32))
    exact = done.before(layer) + delta(whole, "enc.q")
    assert np.abs(y.T - exact).max() <= 0.51 * steps(done.output, exact).max()
    assert np.array_equal(y, z)


class TestRefused:
    TWO = " d2 = DequantizeLinear ({}) [k] z = MatMul (x, d2)"

    @pytest.mark.parametrize(
        ("inputs", "what"),
        [("w_quantized, w_scale", "codes"), ("other, w_scale", "scales")],
    )
    def test_tensors_that_something_else_reads(
        self, inputs: str, what: str, tmp_path: Path, capsys: Captured
    ) -> None:
        layer = dequantize_linear()
        arrays = layer.arrays | {"other": layer.arrays["w_quantized"][:, ::-1]}
        proto = Layer(layer.body + self.TWO.format(inputs), arrays).model()
        proto.graph.node[3].name = "/enc/k/MatMul"
        proto.graph.output.add().CopyFrom(proto.graph.output[0])
        proto.graph.output[1].name = "z"
        base = save_model(proto, tmp_path / "base.onnx")
        file = save(without_prints({"enc.q": W}), tmp_path)
        before = digests(tmp_path)
        arguments = (file, "--to", "onnx", "--base", base, "--quantized", "requantize")

        (line,) = refused(capsys, *arguments)

        assert line.startswith("enc.q: w_quantized or its scales are read elsewhere, too"), what
        assert "use --quantized live" in line
        assert digests(tmp_path) == before
        assert convert(*arguments[:-1], "live", "--quiet") == 0
