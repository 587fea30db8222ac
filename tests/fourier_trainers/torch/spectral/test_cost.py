"""The plan is the cheapest of all that there are, or the one that was asked for."""

from __future__ import annotations

import itertools
import math

import pytest
import torch

from fourier_trainers.torch.spectral.cost import COSTS, Costs, Plan, plan

CPU = torch.device("cpu")
CHOICES = list(itertools.product((384, 4096), (768,), (100, 4000), (1, 64, 2048, 65536)))


def times(
    costs: Costs, out: int, in_: int, routes: int, tokens: int, *, separate: bool
) -> dict[tuple[str, str, str], float]:
    """Return what each plan takes, written out once more from what `cost` says."""

    def per_cell(length: int) -> float:
        return costs.fft_cell * (1 + math.log2(length)) / 11

    dense = out * in_ * (per_cell(out) + per_cell(in_)) + 6 * costs.call
    product = tokens * out * in_ * costs.multiply_add
    into = tokens * in_ * per_cell(in_) + 2 * costs.call
    onto = tokens * out * per_cell(out) + 2 * costs.call
    sums = tokens * routes * costs.route_cell + costs.call
    delta = dense + (product if separate else 0)
    forward = {"weight": delta, "activation": into + sums + onto}
    backward = {
        ("weight", "weight"): delta + product + dense,
        ("weight", "activation"): delta + into + onto + sums,
        ("activation", "weight"): onto + sums + into + product + dense,
        ("activation", "activation"): 2 * into + onto + 2 * sums,
    }
    return {(f, *b): forward[f] + backward[b] for f in forward for b in backward}


@pytest.mark.parametrize("device", ["cpu", "cuda"])
@pytest.mark.parametrize("separate", [False, True])
@pytest.mark.parametrize(("out", "in_", "routes", "tokens"), CHOICES)
def test_the_plan_is_the_cheapest(
    out: int, in_: int, routes: int, tokens: int, separate: bool, device: str
) -> None:
    got = plan(
        "auto",
        (out, in_),
        routes,
        tokens,
        torch.device(device),
        x_gradient=True,
        separate=separate,
    )

    every = times(COSTS[device], out, in_, routes, tokens, separate=separate)
    assert every[got] <= min(every.values()) * (1 + 1e-12)


@pytest.mark.parametrize("x_gradient", [False, True])
@pytest.mark.parametrize("path", ["weight", "activation"])
@pytest.mark.parametrize("tokens", [0, 1, 10**6])
def test_a_path_that_is_asked_for_is_taken_everywhere(
    path: str, tokens: int, x_gradient: bool
) -> None:
    got = plan(
        path,  # type: ignore[arg-type]  # parametrised
        (64, 64),
        100,
        tokens,
        CPU,
        x_gradient=x_gradient,
        separate=False,
    )

    assert got == Plan(path, path, path)


def chosen(tokens: int, routes: int = 2000, *, x_gradient: bool = True) -> Plan:
    return plan("auto", (1024, 1024), routes, tokens, CPU, x_gradient=x_gradient, separate=False)


def test_few_tokens_go_through_activations_and_many_through_the_weight() -> None:
    assert chosen(4) == Plan("activation", "activation", "activation")
    assert chosen(10**6, routes=10**6) == Plan("weight", "weight", "weight")


def test_more_tokens_never_turn_back_to_activations() -> None:
    forward = [chosen(2**k).forward for k in range(24)]

    assert forward == sorted(forward)


def test_a_gradient_of_the_input_that_nobody_wants_costs_nothing() -> None:
    """Only the coefficients' own gradient counts."""
    costs = COSTS["cpu"]
    for tokens in (1, 100, 10**4, 10**6):
        got = chosen(tokens, x_gradient=False)
        every = times(costs, 1024, 1024, 2000, tokens, separate=False)
        dense = every["weight", "weight", "weight"] - 2 * _delta(costs)
        narrow = every["weight", "weight", "activation"] - 2 * _delta(costs)
        assert got.coefficients == ("weight" if dense < narrow else "activation")


def _delta(costs: Costs) -> float:
    return 2 * 1024**2 * costs.fft_cell + 6 * costs.call


@pytest.mark.parametrize("kind", ["mps", "xpu", "meta"])
def test_another_device_is_taken_for_an_accelerator(kind: str) -> None:
    made = [
        plan("auto", (512, 512), 500, 99, d, x_gradient=True, separate=False)
        for d in (torch.device(kind), torch.device("cuda"))
    ]

    assert made[0] == made[1]


@pytest.mark.parametrize("shape", [(1, 1), (1, 2**20), (2**20, 1)], ids=str)
@pytest.mark.parametrize("tokens", [0, 1, 10**9])
def test_no_size_is_too_small_or_too_large(shape: tuple[int, int], tokens: int) -> None:
    got = plan("auto", shape, 1, tokens, CPU, x_gradient=True, separate=True)

    assert set(got) <= {"weight", "activation"}
