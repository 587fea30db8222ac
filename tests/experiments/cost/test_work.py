"""What is counted for the model is what torch does."""

from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor
from torch.utils.flop_counter import FlopCounterMode

from experiments.cost import work
from experiments.cost.arms import Arm, Step, layer
from fourier_trainers.torch.spectral import axes, cost
from fourier_trainers.torch.spectral.cost import Plan
from tests import tolerances

WIDTH, TOKENS = 64, 24
PLANS = [
    ("weight", "weight", "weight"),
    ("weight", "weight", "activation"),
    ("activation", "activation", "weight"),
    ("activation", "activation", "activation"),
]


def step(arm: Arm) -> Step:
    torch.manual_seed(0)
    weight = torch.randn(WIDTH, WIDTH)
    return Step(layer(arm, weight), torch.randn(TOKENS, WIDTH), torch.randn(TOKENS, WIDTH))


def multiply_adds(of: Step) -> int:
    with FlopCounterMode(display=False) as counter:
        of()
    return int(counter.get_total_flops()) // 2


def test_the_base_has_two_products() -> None:
    assert multiply_adds(step(Arm("base"))) == work.base(WIDTH, TOKENS)["gemm"]


@pytest.mark.parametrize("rank", [1, 8])
def test_a_lora_adds_six_thin_products(rank: int) -> None:
    counted = work.lora(WIDTH, TOKENS, rank)

    assert multiply_adds(step(Arm("lora", rank))) == counted["gemm"] + counted["thin"]


@pytest.fixture(params=PLANS, ids="-".join)
def plan(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> tuple[str, ...]:
    """A plan that every layer follows, mixed ones too, which a caller cannot ask for."""
    chosen: tuple[str, ...] = request.param
    monkeypatch.setattr(cost, "plan", lambda *_, **__: Plan(*chosen))
    return chosen


@pytest.mark.parametrize("n", [5, 300])
def test_fourier_adds_a_product_where_the_gradient_goes_through_the_weight(
    plan: tuple[str, ...], n: int
) -> None:
    counted = work.fourier(WIDTH, TOKENS, n, plan)

    assert multiply_adds(step(Arm("fourier", n))) == counted["gemm"]


@pytest.mark.parametrize("n", [5, 300])
def test_as_many_numbers_go_through_ffts_as_are_counted(
    plan: tuple[str, ...], n: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen = [0]

    def counting(name: str) -> None:
        whole = getattr(axes.FourierAxis, name)

        def counted(self: axes.FourierAxis, x: Tensor) -> Tensor:
            seen[0] += x.shape[0] * WIDTH
            return whole(self, x)  # type: ignore[no-any-return]  # by name

        monkeypatch.setattr(axes.FourierAxis, name, counted)

    one = step(Arm("fourier", n))
    counting("forward")
    counting("inverse")
    one()

    expected = work.fourier(WIDTH, TOKENS, n, plan)["fft"] / math.log2(WIDTH)
    tolerance = tolerances.EXPECTED_ROWS if "weight" in plan else 0
    assert seen[0] == pytest.approx(expected, rel=tolerance, abs=0)


def test_both_paths_through_activations_read_each_route_three_times() -> None:
    counted = work.fourier(WIDTH, TOKENS, 10, ("activation",) * 3)

    assert counted["route"] == 3 * 2 * 10 * TOKENS
    assert "weight" not in counted


def test_a_delta_weight_of_a_lora_is_one_product() -> None:
    assert work.delta("lora", WIDTH, 8)["product"] == 8 * WIDTH**2
    assert work.delta("fourier", WIDTH, 8)["fft"] < 2 * WIDTH**2 * math.log2(WIDTH)
