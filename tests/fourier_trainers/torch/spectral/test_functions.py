"""Products and their gradients agree on every plan, and with float64 sums."""

from __future__ import annotations

import itertools
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor
from torch.nn import functional

from fourier_trainers.torch.spectral import cost, functions
from fourier_trainers.torch.spectral.basis import Basis
from fourier_trainers.torch.spectral.cost import Plan
from tests.fourier_trainers.torch import reference
from tests.fourier_trainers.torch.reference import TRANSFORMS, error, tensor
from tests.tolerances import (
    SPECTRAL_F32,
    SPECTRAL_F64,
    TRAINED_HALF_RATIO,
    TRAINED_OUTPUT_F32,
)

WAYS = ("weight", "activation")
PLANS = [Plan(*ways) for ways in itertools.product(WAYS, repeat=3)]
HALVES = (torch.bfloat16, torch.float16)
plans = pytest.mark.parametrize("plan", PLANS, ids="-".join)
halves = pytest.mark.parametrize("dtype", HALVES, ids=str)


@pytest.fixture
def fixed(monkeypatch: pytest.MonkeyPatch, plan: Plan) -> Plan:
    """Make every product go by one plan."""
    monkeypatch.setattr(cost, "plan", lambda *_, **__: plan)
    return plan


class Problem:
    """A linear layer of W with two delta weights of different entries, as large as W."""

    def __init__(
        self,
        shape: tuple[int, int] = (24, 36),
        transform: str = "dft2",
        tokens: int = 20,
        size: float = 1.0,
    ) -> None:
        out, in_ = shape
        rng = np.random.default_rng(3)
        self.x = tensor(rng.standard_normal((tokens, in_), np.float32))
        self.weight = tensor(rng.standard_normal(shape, np.float32)) / in_**0.5
        self.bias = tensor(rng.standard_normal(out, np.float32))
        self.g = tensor(rng.standard_normal((tokens, out), np.float32))
        self.bases = [
            Basis(transform, shape, reference.entries_of(shape, count, seed))
            for count, seed in ((40, 1), (25, 2))
        ]
        alpha = size * np.prod(shape) / np.sqrt(30 * in_)
        factor = alpha if transform == "dft2" else alpha * self.bases[0].norm ** 0.5
        self.scaled = [
            tensor(reference.values_of(basis.count, seed) * factor * basis.norm)
            for seed, basis in enumerate(self.bases)
        ]

    def to(self, dtype: torch.dtype, spectra: torch.dtype) -> Problem:
        """Round what a model of `dtype` holds rounded."""
        for name in ("x", "weight", "bias", "g"):
            setattr(self, name, getattr(self, name).to(dtype))
        self.scaled = [values.to(spectra) for values in self.scaled]
        return self

    def deltas(self) -> list[Tensor]:
        """Return the delta weights by sums."""
        return [
            tensor(
                reference.delta_block(
                    basis.transform,
                    basis.shape,
                    basis.entries,
                    (values.double() / basis.norm).numpy(),
                    np.arange(basis.shape[0]),
                    np.arange(basis.shape[1]),
                )
            )
            for basis, values in zip(self.bases, self.scaled, strict=True)
        ]

    def expected(self, *, weight: bool = True) -> dict[str, Tensor]:
        """Return output and gradients in float64, by dense products and sums."""
        x, g, delta = self.x.double(), self.g.double(), torch.stack(self.deltas()).sum(0)
        total = (self.weight.double() if weight else 0) + delta
        dense = g.T @ x
        return {
            "y": x @ total.T + (self.bias.double() if weight else 0),
            "x": g @ total,
            "weight": dense,
            "bias": g.sum(0),
            **{
                f"scaled {k}": tensor(
                    reference.coefficient_gradient(
                        basis.transform, basis.shape, basis.entries, dense.numpy()
                    )
                    / basis.norm
                )
                for k, basis in enumerate(self.bases)
            },
        }

    def got(self, *, weight: bool = True, wanted: str = "x scaled") -> dict[str, Tensor]:
        """Return what `functions.linear` computes, and the gradients of what is `wanted`."""
        leaf = {
            "x": self.x.clone().requires_grad_("x" in wanted.split()),
            "weight": self.weight.clone().requires_grad_("weight" in wanted.split()),
            "bias": self.bias.clone().requires_grad_("bias" in wanted.split()),
        }
        for k, values in enumerate(self.scaled):
            leaf[f"scaled {k}"] = values.clone().requires_grad_("scaled" in wanted.split())
        terms = [(b, leaf[f"scaled {k}"]) for k, b in enumerate(self.bases)]
        y = functions.linear(
            leaf["x"],
            leaf["weight"] if weight else None,
            leaf["bias"] if weight else None,
            terms,
        )
        y.backward(self.g)
        grads = {name: value.grad for name, value in leaf.items() if value.grad is not None}
        return {"y": y.detach(), **grads}


@pytest.mark.parametrize("transform", TRANSFORMS)
@pytest.mark.parametrize("weight", [True, False], ids=["weight", "delta alone"])
@pytest.mark.parametrize("dtype", [torch.float64, torch.float32], ids=str)
@plans
def test_all_eight_plans_give_output_and_gradients_of_the_sums(
    fixed: Plan, dtype: torch.dtype, weight: bool, transform: str
) -> None:
    problem = Problem(transform=transform).to(dtype, dtype)

    got = problem.got(weight=weight)

    assert set(got) == {"y", "x", "scaled 0", "scaled 1"}
    expected = problem.expected(weight=weight)
    bar = SPECTRAL_F64 if dtype == torch.float64 else TRAINED_OUTPUT_F32
    assert {n: e for n in got if (e := error(got[n], expected[n])) >= bar} == {}


@pytest.mark.parametrize(
    "wanted", ["scaled", "x", "weight", "bias", "x weight", "weight bias scaled", "x bias scaled"]
)
@plans
def test_only_the_gradients_that_are_wanted_are_given(fixed: Plan, wanted: str) -> None:
    problem = Problem()

    got = problem.got(wanted=wanted)

    assert {name.split()[0] for name in got} == {"y", *wanted.split()}
    expected = problem.expected()
    assert {n: e for n in got if (e := error(got[n], expected[n])) >= SPECTRAL_F64} == {}


@pytest.mark.parametrize("weight", [True, False], ids=["weight", "delta alone"])
@plans
def test_gradcheck_of_the_product(fixed: Plan, weight: bool) -> None:
    problem = Problem((5, 6), tokens=3)
    leaves = [problem.x.view(1, 3, 6), problem.weight, problem.bias, *problem.scaled]

    def product(x: Tensor, w: Tensor, b: Tensor, *scaled: Tensor) -> Tensor:
        terms = list(zip(problem.bases, scaled, strict=True))
        return functions.linear(x, w if weight else None, b if weight else None, terms)

    kept = [t.detach().clone().requires_grad_() for t in leaves]
    assert torch.autograd.gradcheck(product, kept, fast_mode=False)


@pytest.mark.parametrize("transform", TRANSFORMS)
@pytest.mark.parametrize("shape", [(1, 1), (1, 4), (4, 1), (5, 6)], ids=str)
def test_gradcheck_of_the_delta_weight_and_its_columns(
    shape: tuple[int, int], transform: str
) -> None:
    problem = Problem(shape, transform)
    values = [v.clone().requires_grad_() for v in problem.scaled]
    positions = torch.arange(6).view(2, 3) % shape[1]

    def delta(*scaled: Tensor) -> Tensor:
        return functions.delta_weight(list(zip(problem.bases, scaled, strict=True)))

    def columns(*scaled: Tensor) -> Tensor:
        terms = list(zip(problem.bases, scaled, strict=True))
        return functions.columns(positions, terms, torch.float64)

    assert torch.autograd.gradcheck(delta, values)
    assert torch.autograd.gradcheck(columns, values)
    assert error(delta(*values), torch.stack(problem.deltas()).sum(0)) < SPECTRAL_F64
    assert torch.allclose(columns(*values), delta(*values).T[positions], rtol=0, atol=1e-13)


@pytest.mark.parametrize("weight", [True, False], ids=["weight", "delta alone"])
@halves
@plans
def test_half_precision_is_as_exact_as_a_linear_layer_of_that_precision(
    fixed: Plan, dtype: torch.dtype, weight: bool
) -> None:
    problem = Problem((64, 96), tokens=50).to(dtype, torch.float32)
    expected, got = problem.expected(weight=weight), problem.got(weight=weight)

    x, w, b = (t.clone().requires_grad_() for t in (problem.x, problem.weight, problem.bias))
    y = functional.linear(x, w, b)
    y.backward(problem.g)
    base = y.double(), x.grad, w.grad
    exact = functional.linear(*(t.double() for t in (problem.x, problem.weight, problem.bias)))
    dense = problem.g.double().T @ problem.x.double()
    usual = {
        "y": error(base[0], exact),
        "x": error(base[1], problem.g.double() @ problem.weight.double()),
        "scaled": error(base[2], dense),
    }
    assert got["y"].dtype == got["x"].dtype == dtype
    assert got["scaled 0"].dtype == torch.float32
    ratios = {n: error(got[n], expected[n]) / usual[n.split()[0]] for n in got}
    assert {n: r for n, r in ratios.items() if r >= TRAINED_HALF_RATIO} == {}


@pytest.mark.parametrize("size", [2.0**-10, 2.0**-20], ids=str)
@halves
@plans
def test_a_delta_weight_far_smaller_than_the_weight_is_not_lost_in_half_precision(
    fixed: Plan, dtype: torch.dtype, size: float
) -> None:
    """It would be, if it were added to a rounded weight, or if it were below float16's numbers."""
    problem = Problem((64, 96), tokens=50, size=size).to(dtype, torch.float32)

    got = problem.got(weight=False)

    expected = problem.expected(weight=False)
    y, x = (value.double() for value in (expected["y"], expected["x"]))
    bar = 2.0**-7 if dtype == torch.bfloat16 else 2.0**-10
    smallest = 2.0**-25 if dtype == torch.float16 else 0.0  # half of float16's last place at zero
    assert (got["y"].double() - y).abs().max() < bar * y.abs().max() + smallest
    assert (got["x"].double() - x).abs().max() < bar * x.abs().max() + smallest


@halves
@plans
def test_a_delta_weight_is_not_lost_in_the_rounding_of_the_weight(
    fixed: Plan, dtype: torch.dtype
) -> None:
    """Beside a 1, half precision has no number as small as these."""
    problem = Problem((64, 96), tokens=50, size=2.0**-9)
    problem.weight, problem.bias = torch.ones(64, 96), torch.zeros(64)
    problem.x -= problem.x.mean(1, keepdim=True)  # so that the ones give next to nothing
    problem.g -= problem.g.mean(1, keepdim=True)
    problem.to(dtype, torch.float32)

    got = problem.got()

    effect, expected = problem.expected(weight=False), problem.expected()
    for name in ("y", "x"):
        off = (got[name].double() - expected[name]).abs().max()
        assert off < 0.25 * effect[name].abs().max()


@pytest.mark.parametrize(("alpha", "size"), [(1e4, 1.0), (1.0, 1e6), (1e4, 1e6), (1.0, 1e-12)])
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float16], ids=str)
@plans
def test_extreme_coefficients_change_no_digit(
    fixed: Plan, dtype: torch.dtype, alpha: float, size: float
) -> None:
    """Above what float16 holds, the output is infinite, and nowhere NaN."""
    problem = Problem((32, 48), size=alpha * size).to(dtype, torch.float32)

    y = problem.got(weight=False)["y"].double()

    expected = problem.expected(weight=False)["y"]
    highest = torch.finfo(dtype).max
    relative = {torch.float32: 5e-6, torch.bfloat16: 2.0**-7, torch.float16: 2.0**-10}[dtype]
    smallest = 2.0**-24 if dtype == torch.float16 else 0.0  # its numbers end there
    bar = relative * expected.abs().max() + smallest
    fits = expected.abs() + bar < highest
    assert not y.isnan().any()
    assert ((y - expected).abs()[fits] <= bar).all()
    assert y[expected.abs() - bar > highest].isinf().all()


@plans
def test_a_token_that_is_not_a_number_spoils_no_other(fixed: Plan) -> None:
    problem = Problem()
    problem.x[4, 7] = torch.nan
    problem.g[6, 1] = torch.nan

    got = problem.got()

    for name, bad in (("y", 4), ("x", 6)):
        spoilt = got[name].isnan().any(1)
        assert spoilt.nonzero().flatten().tolist() == [bad]
    assert got["scaled 0"].isnan().all()


@plans
def test_a_coefficient_that_is_not_a_number_is_seen(fixed: Plan) -> None:
    problem = Problem()
    problem.scaled[0][3] = torch.nan

    assert problem.got()["y"].isnan().any(1).all()


@plans
def test_autocast_rounds_no_spectrum(fixed: Plan) -> None:
    """Nor does it change what is computed in float32."""
    problem = Problem().to(torch.float32, torch.float32)
    plain = problem.got()

    with torch.autocast("cpu", torch.bfloat16):
        got = problem.got()

    assert all(torch.equal(got[name], plain[name]) for name in plain)


@pytest.mark.parametrize("lead", [(), (4,), (2, 3), (0,), (2, 0, 3), (1, 1, 1)], ids=str)
@plans
def test_tokens_may_have_any_axes(fixed: Plan, lead: tuple[int, ...]) -> None:
    problem = Problem()
    x = torch.randn(*lead, 36, dtype=torch.float64, requires_grad=True)
    values = [v.clone().requires_grad_() for v in problem.scaled]

    y = functions.linear(
        x, problem.weight, problem.bias, list(zip(problem.bases, values, strict=True))
    )
    y.sum().backward()

    total = problem.weight + sum(problem.deltas())
    assert y.shape == (*lead, 24)
    assert x.grad is not None
    assert error(y, functional.linear(x, total, problem.bias)) < SPECTRAL_F64
    assert error(x.grad, total.sum(0).expand(*lead, 36)) < SPECTRAL_F64
    assert all(v.grad is not None and v.grad.isfinite().all() for v in values)


@pytest.mark.parametrize("view", ["turned", "sliced", "expanded", "reversed"])
@plans
def test_strides_of_input_weight_and_gradient_do_not_matter(fixed: Plan, view: str) -> None:
    plain = Problem()
    strided = Problem()
    for name in ("x", "weight", "g"):
        values: Tensor = getattr(plain, name)
        if view == "expanded":
            values = values[:1].expand(values.shape)
            setattr(plain, name, values.contiguous())
        made: dict[str, Any] = {
            "turned": lambda t: t.T.contiguous().T,
            "sliced": lambda t: torch.stack([t, t], -1).flatten(1)[:, ::2],
            "expanded": lambda t: t[:1].expand(t.shape),
            "reversed": lambda t: torch.cat([t, t])[: len(t)],
        }
        setattr(strided, name, made[view](values))

    got = strided.got(wanted="x weight bias scaled")

    expected = plain.got(wanted="x weight bias scaled")
    assert {n: e for n in got if (e := error(got[n], expected[n])) >= SPECTRAL_F64} == {}


@plans
def test_a_second_derivative_is_refused(fixed: Plan) -> None:
    problem = Problem()
    x = problem.x.clone().requires_grad_()
    y = functions.linear(x, None, None, list(zip(problem.bases, problem.scaled, strict=True)))
    (first,) = torch.autograd.grad(y.square().sum(), x, create_graph=True)

    with pytest.raises(RuntimeError, match="once_differentiable"):
        first.sum().backward()


def test_a_sum_is_rounded_once() -> None:
    problem = Problem().to(torch.bfloat16, torch.float32)

    got = functions.summed(
        problem.weight.T.contiguous().T, list(zip(problem.bases, problem.scaled, strict=True))
    )

    exact = problem.weight.double() + sum(problem.deltas())
    nearest = exact.to(torch.bfloat16)
    assert got.dtype == torch.bfloat16
    assert (got != nearest).sum() <= 1  # a tie that float32 breaks otherwise
    assert error(got, exact) < 2.0**-8


def test_the_delta_weight_may_be_computed_on_no_device_at_all() -> None:
    """A model on the meta device tells shapes."""
    basis = Problem().bases[0]
    values = torch.empty(40, device="meta", requires_grad=True)
    x = torch.empty(3, 36, device="meta", requires_grad=True)

    y = functions.linear(x, None, None, [(basis, values)], "weight")
    y.sum().backward()

    assert y.shape == (3, 24)
    assert values.grad is not None


def test_the_delta_weight_in_float32() -> None:
    problem = Problem((300, 200)).to(torch.float32, torch.float32)

    got = functions.delta_weight(list(zip(problem.bases, problem.scaled, strict=True)))

    assert error(got, torch.stack(problem.deltas()).sum(0)) < SPECTRAL_F32
