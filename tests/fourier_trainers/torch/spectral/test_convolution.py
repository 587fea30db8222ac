"""A convolution with a delta weight is torch's own, in float64, with the sum of both."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional

from fourier_trainers.torch import FourierConfig, attach
from fourier_trainers.torch.layers import _geometry
from fourier_trainers.torch.spectral import convolution
from fourier_trainers.torch.spectral.basis import Basis
from fourier_trainers.torch.spectral.functions import Terms
from tests.fourier_trainers.torch import reference
from tests.fourier_trainers.torch.reference import TRANSFORMS, error, tensor
from tests.tolerances import SPECTRAL_F64, TRAINED_HALF_RATIO, TRAINED_OUTPUT_F32

# The reference's own remark on its speed.
pytestmark = pytest.mark.filterwarnings("ignore:Using padding='same' with even kernel:UserWarning")
GEOMETRIES: dict[str, dict[str, Any]] = {
    "1x1": {"kernel_size": 1},
    "patches": {"kernel_size": 4, "stride": 4},
    "padded": {"kernel_size": 3, "padding": 1},
    "same": {"kernel_size": (4, 3), "padding": "same"},
    "valid": {"kernel_size": 3, "padding": "valid"},
    "uneven": {"kernel_size": (3, 2), "stride": (2, 1), "padding": (2, 0), "dilation": (1, 3)},
    "reflect": {"kernel_size": 3, "padding": 2, "padding_mode": "reflect"},
    "replicate": {"kernel_size": (2, 5), "padding": (0, 2), "padding_mode": "replicate"},
    "circular": {"kernel_size": 3, "padding": "same", "padding_mode": "circular", "dilation": 2},
}
GROUPED: dict[str, dict[str, Any]] = {
    "two groups": {"kernel_size": 3, "padding": 1, "groups": 2},
    "depthwise": {"kernel_size": 3, "groups": 4, "stride": 2},
}
Call = Callable[[nn.Conv2d, Tensor, Terms], Tensor]


def through_weight(conv: nn.Conv2d, x: Tensor, terms: Terms) -> Tensor:
    return convolution.conv2d(x, conv.weight, conv.bias, terms, _geometry(conv))


def delta_alone(conv: nn.Conv2d, x: Tensor, terms: Terms) -> Tensor:
    return convolution.conv2d(x, None, None, terms, _geometry(conv))


def through_patches(conv: nn.Conv2d, x: Tensor, terms: Terms) -> Tensor:
    return convolution.by_patches(x, terms, _geometry(conv))


CASES = [
    *((name, call) for name in GEOMETRIES for call in (through_weight, delta_alone)),
    *((name, through_patches) for name in GEOMETRIES),
    *((name, call) for name in GROUPED for call in (through_weight, delta_alone)),
]
cases = pytest.mark.parametrize(
    ("name", "call"), CASES, ids=[f"{name}-{call.__name__}" for name, call in CASES]
)


class Problem:
    """A convolution of 4 channels to 6 or 8 with two delta weights as large as its weight."""

    def __init__(self, name: str, transform: str = "dft2", size: float = 1.0) -> None:
        with torch.random.fork_rng():
            torch.manual_seed(3)
            settings = {**GEOMETRIES, **GROUPED}[name]
            out = 8 if name == "depthwise" else 6
            self.conv = nn.Conv2d(4, out, dtype=torch.float64, **settings)
            self.x = torch.randn(2, 4, 9, 10, dtype=torch.float64)
        matrix = self.conv.weight.detach().flatten(1)
        self.shape = (matrix.shape[0], matrix.shape[1])
        self.bases = [
            Basis(transform, self.shape, reference.entries_of(self.shape, count, seed))
            for count, seed in ((20, 1), (7, 2))
        ]
        self.scaled = [
            tensor(reference.values_of(basis.count, seed)) for seed, basis in enumerate(self.bases)
        ]
        largest = self.deltas().abs().max()
        self.scaled = [size * values * matrix.abs().max() / largest for values in self.scaled]

    def to(self, dtype: torch.dtype) -> Problem:
        self.conv, self.x = self.conv.to(dtype), self.x.to(dtype)
        self.scaled = [values.float() for values in self.scaled]
        return self

    def deltas(self) -> Tensor:
        p, q = np.arange(self.shape[0]), np.arange(self.shape[1])
        blocks = [
            reference.delta_block(
                b.transform, self.shape, b.entries, (v.detach().double() / b.norm).numpy(), p, q
            )
            for b, v in zip(self.bases, self.scaled, strict=True)
        ]
        return tensor(np.sum(blocks, axis=0))

    def got(self, call: Call) -> dict[str, Tensor]:
        """Return output and gradients of a loss that weights every output differently."""
        x = self.x.clone().requires_grad_()
        scaled = [values.clone().requires_grad_() for values in self.scaled]
        self.conv.zero_grad()
        y = call(self.conv, x, list(zip(self.bases, scaled, strict=True)))
        y.backward(self.g(y))
        grads = {"x": x.grad, "scaled 0": scaled[0].grad, "scaled 1": scaled[1].grad}
        grads |= {name: p.grad for name, p in self.conv.named_parameters()}
        return {"y": y.detach()} | {k: v.clone() for k, v in grads.items() if v is not None}

    def expected(self, call: Call) -> dict[str, Tensor]:
        """Return the same by torch, with W + delta as the weight, in float64."""
        x = self.x.double().clone().requires_grad_()
        whole = call is through_weight
        delta = self.deltas().view(self.conv.weight.shape)
        total = (self.conv.weight.detach().double() + delta if whole else delta).requires_grad_()
        bias = None
        if whole and self.conv.bias is not None:
            bias = self.conv.bias.detach().double().clone().requires_grad_()
        y = self.conv._conv_forward(x, total, bias)
        y.backward(self.g(y).to(self.x.dtype).double())
        assert total.grad is not None
        dense = total.grad.flatten(1).numpy()
        found = {"y": y.detach(), "x": x.grad, "weight": total.grad}
        found |= {"bias": None if bias is None else bias.grad}
        for k, b in enumerate(self.bases):
            values = reference.coefficient_gradient(b.transform, self.shape, b.entries, dense)
            found[f"scaled {k}"] = tensor(values / b.norm)
        return {name: value for name, value in found.items() if value is not None}

    @staticmethod
    def g(y: Tensor) -> Tensor:
        return torch.linspace(-1, 1, y.numel(), dtype=torch.float64).sin().view(y.shape).to(y.dtype)


@pytest.mark.parametrize("transform", TRANSFORMS)
@cases
def test_output_and_gradients_are_those_of_the_sum(name: str, call: Call, transform: str) -> None:
    problem = Problem(name, transform)

    got, expected = problem.got(call), problem.expected(call)

    assert set(got) >= {"y", "x", "scaled 0", "scaled 1"}
    assert ("weight" in got) == (call is through_weight)
    assert {n: e for n in got if (e := error(got[n], expected[n])) >= SPECTRAL_F64} == {}


@cases
def test_float32_is_exact(name: str, call: Call) -> None:
    problem = Problem(name).to(torch.float32)

    got, expected = problem.got(call), problem.expected(call)

    assert {n: e for n in got if (e := error(got[n], expected[n])) >= TRAINED_OUTPUT_F32} == {}


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16], ids=str)
@cases
def test_half_precision_is_as_exact_as_a_convolution_of_that_precision(
    name: str, call: Call, dtype: torch.dtype
) -> None:
    problem = Problem(name).to(dtype)

    got, expected = problem.got(call), problem.expected(call)

    x = problem.x.clone().requires_grad_()
    problem.conv.zero_grad()
    y = problem.conv(x)
    y.backward(problem.g(y))
    exact = nn.Conv2d(4, y.shape[1], dtype=torch.float64, **{**GEOMETRIES, **GROUPED}[name])
    exact.load_state_dict(problem.conv.state_dict())
    exact_x = problem.x.double().requires_grad_()
    exact_y = exact(exact_x)
    exact_y.backward(problem.g(y).double())
    assert x.grad is not None
    assert exact_x.grad is not None
    usual = {
        "y": error(y, exact_y),
        "x": error(x.grad, exact_x.grad),
        "weight": error(problem.conv.weight.grad, exact.weight.grad),
    }
    usual |= {"scaled": usual["weight"], "bias": usual["weight"]}
    assert got["y"].dtype == got["x"].dtype == dtype
    least = torch.finfo(dtype).eps / 2
    ratios = {n: error(got[n], expected[n]) / max(usual[n.split()[0]], least) for n in got}
    assert {n: r for n, r in ratios.items() if r >= TRAINED_HALF_RATIO} == {}


@pytest.mark.parametrize("size", [2.0**-9, 2.0**-18], ids=str)
@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16], ids=str)
@pytest.mark.parametrize("call", [through_weight, through_patches], ids=lambda c: c.__name__)
def test_a_delta_weight_far_smaller_than_the_weight_is_not_lost_in_half_precision(
    call: Call, dtype: torch.dtype, size: float
) -> None:
    problem = Problem("padded", size=size).to(dtype)
    problem.conv.weight.data.zero_().add_(1.0)  # to which nothing small can be added
    assert problem.conv.bias is not None
    problem.conv.bias.data.zero_()
    problem.x -= problem.x.mean(1, keepdim=True)  # so that the base gives little

    got = problem.got(call)

    plain = functional.conv2d(problem.x, problem.conv.weight, padding=1)
    effect = got["y"].double() - (plain.double() if call is through_weight else 0)
    expected = problem.expected(delta_alone)["y"]
    rounding = torch.finfo(dtype).eps * plain.abs().max() if call is through_weight else 0.0
    assert (effect - expected).abs().max() < 2.0**-6 * expected.abs().max() + rounding
    assert size < 2.0**-9 or (effect - expected).abs().max() < 0.5 * expected.abs().max()


@cases
def test_gradcheck(name: str, call: Call) -> None:
    problem = Problem(name)
    x = problem.x[:1, :, :5, :5] if name not in {"circular", "uneven"} else problem.x[:1]
    leaves = [x.clone().requires_grad_(), *(v.clone().requires_grad_() for v in problem.scaled)]

    def product(x: Tensor, *scaled: Tensor) -> Tensor:
        return call(problem.conv, x, list(zip(problem.bases, scaled, strict=True)))

    assert torch.autograd.gradcheck(product, leaves, fast_mode=True)


@pytest.mark.parametrize("lead", [(), (0,), (1,)], ids=str)
@cases
def test_a_batch_may_be_empty_or_missing(name: str, call: Call, lead: tuple[int, ...]) -> None:
    problem = Problem(name)
    x = torch.randn(*lead, 4, 9, 10, dtype=torch.float64, requires_grad=True)
    terms = [(b, v.requires_grad_()) for b, v in zip(problem.bases, problem.scaled, strict=True)]

    y = call(problem.conv, x, terms)
    y.sum().backward()

    delta = problem.deltas().view(problem.conv.weight.shape)
    whole = call is through_weight
    weight = problem.conv.weight + delta if whole else delta
    assert error(y, problem.conv._conv_forward(x, weight, problem.conv.bias if whole else None)) < (
        SPECTRAL_F64
    )
    assert x.grad is not None
    assert x.grad.shape == x.shape
    assert all(v.grad is not None and v.grad.isfinite().all() for _, v in terms)


@pytest.mark.parametrize("view", ["channels last", "sliced", "expanded", "turned"])
@cases
def test_strides_do_not_matter(name: str, call: Call, view: str) -> None:
    problem = Problem(name)
    if view == "expanded":
        problem.x = problem.x[:, :1].expand(problem.x.shape)
    elif view == "sliced":
        problem.x = torch.cat([problem.x, problem.x])[::2, :, :, :]
    elif view == "turned":
        problem.x = problem.x.transpose(2, 3).contiguous().transpose(2, 3)
    else:
        problem.x = problem.x.contiguous(memory_format=torch.channels_last)
        weight = problem.conv.weight
        weight.data = weight.data.contiguous(memory_format=torch.channels_last)

    got, expected = problem.got(call), problem.expected(call)

    assert {n: e for n in got if (e := error(got[n], expected[n])) >= SPECTRAL_F64} == {}


@pytest.mark.parametrize("mode", ["zeros", "reflect", "replicate", "circular"])
def test_autocast_with_any_padding(mode: Any) -> None:
    torch.manual_seed(0)
    model = nn.Sequential(nn.Conv2d(3, 4, 3, padding=1, padding_mode=mode))
    attach(model, FourierConfig(target_modules=("0",), n=12, alpha=9.0, init="normal"))
    x = torch.randn(2, 3, 6, 6)
    expected = model(x).detach()

    with torch.autocast("cpu", torch.bfloat16):
        y = model(x)

    assert y.dtype == torch.bfloat16
    assert torch.allclose(y.float(), expected, atol=0.05 * float(expected.abs().max()))
    y.float().sum().backward()
