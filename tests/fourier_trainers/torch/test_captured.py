"""Whatever shape, entries and dtype: both paths agree, and the captured adapter means the same."""

from __future__ import annotations

from typing import Any, cast

import numpy as np
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn

import fourier_format
from fourier_format.adapter import Array
from fourier_trainers.config import Path
from fourier_trainers.torch import Explicit, FourierConfig, attach, capture
from fourier_trainers.torch.coefficients import Coefficients
from fourier_trainers.torch.layers import kind_of
from fourier_trainers.torch.spectral import functions
from tests.fourier_trainers.torch.reference import error
from tests.fourier_trainers.torch.single import KINDS
from tests.strategies import DRAW, entries
from tests.tolerances import SPECTRAL_F32, TRAINED_OUTPUT_F32

BARS = {
    torch.float64: 1e-12,
    torch.float32: TRAINED_OUTPUT_F32,
    torch.bfloat16: 2.0**-6,
    torch.float16: 2.0**-9,
}


@st.composite
def problems(draw: DRAW) -> dict[str, Any]:
    """Draw a layer, entries, coefficients from tiny to huge, and an input."""
    kind = draw(st.sampled_from(sorted(KINDS)))
    out, in_ = draw(st.integers(1, 40)), draw(st.integers(1, 40))
    in_ += in_ % 2 if kind == "conv2d" else 0
    places = draw(entries((out, in_)))
    rng = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    return {
        "kind": kind,
        "shape": (out, in_),
        "entries": places,
        "values": rng.standard_normal(len(places), np.float32) * 10.0 ** draw(st.integers(-6, 6)),
        "alpha": draw(st.sampled_from([1e-3, 1.0, 150.0, 1e4])),
        "gain": draw(st.sampled_from([1.0, 0.01, 300.0])),
        "dtype": draw(st.sampled_from(sorted(BARS, key=str))),
    }


def attached(problem: dict[str, Any], path: Path, dtype: torch.dtype) -> Any:
    """Return the model of one layer; its base weight is zero, so that only the delta counts."""
    out, in_ = problem["shape"]
    layer = KINDS[problem["kind"]].make(out, in_, False)
    model = nn.Sequential()
    model.add_module("layer", layer)
    for parameter in model.parameters():
        parameter.data = torch.zeros_like(parameter, dtype=dtype)
    config = FourierConfig(
        target_modules=("layer",),
        n=len(problem["entries"]),
        alpha=problem["alpha"],
        gain=problem["gain"],
        entries=Explicit({problem["shape"]: problem["entries"]}),
        path=path,
    )
    attach(model, config)
    member(model).coefficients.data = torch.from_numpy(problem["values"])
    return model


def member(model: Any) -> Coefficients:
    return cast("Coefficients", model.layer.fourier["default"])


def size(problem: dict[str, Any]) -> float:
    """Return what no element of the delta weight exceeds."""
    values: Array = problem["values"].astype(np.float64)
    return float(
        np.abs(values).sum() * problem["alpha"] * problem["gain"] / np.prod(problem["shape"])
    )


@settings(max_examples=150, deadline=None)
@given(problems())
def test_both_paths_agree(problem: dict[str, Any]) -> None:
    if problem["dtype"] == torch.float16 and not 1e-5 < size(problem) < 100:
        problem["dtype"] = torch.bfloat16  # float16 has no such outputs
    dtype = problem["dtype"]
    torch.manual_seed(0)
    x = KINDS[problem["kind"]].feed(problem["shape"][1])
    x = x.to(dtype) if x.is_floating_point() else x
    outputs, gradients = list[Tensor](), list[Tensor]()
    for path in ("weight", "activation"):
        model = attached(problem, path, dtype)

        y = model(x)
        y.float().sum().backward()

        outputs.append(y.detach().double())
        gradient = member(model).coefficients.grad
        assert gradient is not None
        gradients.append(gradient.double())
    # Against what could have been: waves may cancel out at the few places that are looked at.
    largest = size(problem) * (1 if problem["kind"] == "embedding" else x.abs().sum(-1).max())
    assert (outputs[0] - outputs[1]).abs().max() <= BARS[dtype] * largest
    scale = problem["alpha"] * problem["gain"] / np.prod(problem["shape"])
    total = y.numel() * (1 if problem["kind"] == "embedding" else float(x.abs().sum(-1).max()))
    assert (gradients[0] - gradients[1]).abs().max() <= BARS[dtype] * scale * total


@settings(max_examples=150, deadline=None)
@given(problems())
def test_the_captured_adapter_has_the_delta_weight_that_was_trained(
    problem: dict[str, Any],
) -> None:
    model = attached(problem, "auto", torch.float32)
    kind = kind_of(model.layer, "layer")
    assert kind is not None

    adapter = capture(model)

    assert np.array_equal(adapter.entry_sets[0].entries, problem["entries"])
    got = fourier_format.delta_weight(adapter, "layer")
    with torch.no_grad():
        own = functions.delta_weight([(member(model).basis, member(model).scaled(torch.float32))])
    assert got.shape == tuple(own.shape) == problem["shape"]
    assert np.abs(got - own.numpy()).max() <= SPECTRAL_F32 * size(problem)
    eye = torch.eye(problem["shape"][1])
    if problem["kind"] in {"linear", "conv1d"}:
        assert error(model(eye).T, own) < TRAINED_OUTPUT_F32
    if problem["kind"] == "embedding":
        assert error(model(torch.arange(problem["shape"][1])).T, own) < TRAINED_OUTPUT_F32
