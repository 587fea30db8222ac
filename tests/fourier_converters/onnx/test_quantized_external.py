"""Quantised bases whose tensors lie in external data."""

from __future__ import annotations

from pathlib import Path

import ml_dtypes
import numpy as np
import onnx
import pytest

from tests.fourier_converters.adapters import delta, save
from tests.fourier_converters.command import converted
from tests.fourier_converters.graphs import digests, save_external
from tests.fourier_converters.graphs import save as save_model
from tests.fourier_converters.onnx.branched import inputs, without_prints
from tests.fourier_converters.onnx.quantised import (
    W,
    cast_and_mul,
    dequantize_linear,
    integer,
    nbits,
    run_plainly,
)

FORMS = {
    "MatMulNBits": nbits(zero="packed"),
    "blocks of int4": dequantize_linear("block", ml_dtypes.int4),
    "QDQ": dequantize_linear("channel", symmetric=False),
    "Cast and Mul": cast_and_mul(),
    "MatMulInteger": integer("MatMulInteger"),
}


@pytest.mark.parametrize("kept", ["copy", "reference"])
@pytest.mark.parametrize("mode", ["live", "requantize"])
@pytest.mark.parametrize("name", FORMS)
def test_they_are_merged_as_those_with_everything_inside(
    name: str, mode: str, kept: str, tmp_path: Path
) -> None:
    proto = FORMS[name].model()
    inside = save_model(proto, tmp_path / "inside.onnx")
    (tmp_path / "base").mkdir()
    outside = save_external(proto, tmp_path / "base" / "base.onnx")
    before = digests(tmp_path / "base")
    file = save(without_prints({"enc.q": W}), tmp_path)
    more = ("--quantized", mode)
    one, other = tmp_path / "one.onnx", tmp_path / "base" / "other.onnx"

    converted(file, "--to", "onnx", "--base", inside, "-o", one, *more)
    converted(file, "--to", "onnx", "--base", outside, "-o", other, *more, "--external-data", kept)

    onnx.checker.check_model(other)
    assert np.array_equal(run_plainly(one, x=inputs()), run_plainly(other, x=inputs()))
    after = digests(tmp_path / "base")
    assert {name: after[name] for name in before} == before


def test_a_branch_in_external_data_is_small_beside_the_base(tmp_path: Path) -> None:
    """What targets share is stored once, and the codes are only referred to."""
    base = save_external(nbits().model(), tmp_path / "base.onnx")
    whole = without_prints({"enc.q": W})
    output = tmp_path / "m.onnx"

    converted(
        save(whole, tmp_path),
        "--to",
        "onnx",
        "--base",
        base,
        "-o",
        output,
        "--external-data",
        "reference",
    )

    n, (out, in_) = 5, W.shape
    added = sum(p.stat().st_size for p in tmp_path.iterdir() if p.name.startswith("m.onnx"))
    assert added <= 4 * 2 * n * (out + in_) + 4096
    got = run_plainly(output, x=inputs()) - run_plainly(base, x=inputs())
    assert np.allclose(got, inputs() @ delta(whole, "enc.q").T, atol=1e-3)
