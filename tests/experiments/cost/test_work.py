"""What is counted for the model is what torch does."""

from __future__ import annotations

import math
from typing import Any

import pytest
import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode
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


class Gathered(TorchDispatchMode):
    """Counts the numbers that embedding_bag reads and adds up: rows of tokens."""

    def __init__(self) -> None:
        super().__init__()
        self.numbers = 0

    def __torch_dispatch__(
        self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: Any = None
    ) -> Any:
        if "embedding_bag" in str(func):
            table, indices = args[0], args[2 if "backward" in str(func) else 1]
            self.numbers += indices.numel() * table.shape[1]
        return func(*args, **(kwargs or {}))


@pytest.mark.parametrize("n", [5, 300])
def test_as_many_numbers_of_routes_are_read_as_are_counted(plan: tuple[str, ...], n: int) -> None:
    one = step(Arm("fourier", n))
    with Gathered() as seen:
        one()

    assert seen.numbers == work.fourier(WIDTH, TOKENS, n, plan).get("route", 0)


def test_a_delta_weight_of_a_lora_is_one_product() -> None:
    first, second = torch.randn(WIDTH, 8), torch.randn(8, WIDTH)
    with FlopCounterMode(display=False) as counter:
        first @ second

    assert counter.get_total_flops() // 2 == work.delta("lora", WIDTH, 8)["product"]
