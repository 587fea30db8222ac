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
from experiments.cost.model import Point, predicted, study
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


class Gathered(TorchDispatchMode):  # type: ignore[no-untyped-call]  # torch's hook is not typed
    """Counts the numbers that embedding_bag reads and adds up: rows of tokens."""

    def __init__(self) -> None:
        super().__init__()  # type: ignore[no-untyped-call]  # nor is this
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


COSTS = {"base": 1e-5, "lora": 5e-5, "activation": 1e-4, "weight": 1e-4, "gemm": 1e-11,
         "thin": 3e-11, "fft": 1e-10, "route": 1e-11, "moved": 1e-9}  # fmt: skip


def works() -> list[tuple[str, int, work.Work]]:
    found: list[tuple[str, int, work.Work]] = []
    for width in (256, 512, 1024, 2048):
        for tokens in (64, 512, 2048):
            found.append(("base", width, work.base(width, tokens)))
            found += [("lora", width, work.lora(width, tokens, rank)) for rank in (1, 8, 64)]
            found += [
                (path, width, work.fourier(width, tokens, n, (path,) * 3))
                for path in work.THROUGH
                for n in (200, 5000)
            ]
    return found


def worst(seconds: list[float]) -> float:
    """The worst error of a fit to some times by the work as it is counted now."""
    points = [
        Point(kind, width, of, measured)
        for (kind, width, of), measured in zip(works(), seconds, strict=True)
    ]
    return max(errors.worst for errors in study(points, lambda _: False).inside.values())


@pytest.mark.parametrize("name", ["_BASE_STATES", "_LORA_STATES", "_PASS_STATES", "_DELTA_CELLS"])
def test_a_wrong_assumption_on_moved_numbers_shows_in_the_errors(
    name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """No counter sees these; a model that assumes them wrongly does not fit."""
    seconds = [predicted(of, COSTS) for _, _, of in works()]
    assert worst(seconds) <= tolerances.MODEL_F64

    monkeypatch.setattr(work, name, 4 * getattr(work, name))

    assert worst(seconds) > 0.02
