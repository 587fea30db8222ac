"""What is timed computes what it says, and its bytes are those of its tensors."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch

import fourier_format
from experiments.cost.allocations import allocations
from experiments.cost.arms import PATHS, Arm, Step, arms, layer
from experiments.cost.training import measured, plan_of, update
from experiments.trial import Context
from fourier_format.adapter import Adapter, EntrySet, Target
from fourier_trainers.torch.spectral import cost
from tests import tolerances

WIDTH, TOKENS = 32, 12
FLOAT = 4


def step(arm: Arm) -> Step:
    torch.manual_seed(0)
    weight = torch.randn(WIDTH, WIDTH) / WIDTH**0.5
    return Step(layer(arm, weight), torch.randn(TOKENS, WIDTH), torch.randn(TOKENS, WIDTH))


def delta_of(one: Step) -> torch.Tensor:
    """The delta weight, by the format's own arithmetic."""
    held: Any = one.module.get_submodule("fourier.default")
    shape = (WIDTH, WIDTH)
    coefficients = held.get_parameter("coefficients").detach().numpy()[None]
    entries = EntrySet(
        id="e",
        shape=shape,
        entries=held.basis.entries,
        coefficients=coefficients,
    )
    target = Target(name="layer", kind="linear", shape=shape, entries="e", row=0)
    adapter = Adapter(alpha=150.0, entry_sets=(entries,), targets=(target,))
    return torch.from_numpy(fourier_format.delta_weight(adapter, target, "float64"))


@pytest.mark.parametrize("path", PATHS)
def test_a_fourier_layer_multiplies_by_weight_and_delta(path: str) -> None:
    one = step(Arm("fourier", 40, path))  # type: ignore[arg-type]  # one of PATHS
    weight = one.module.get_parameter("weight").double() + delta_of(one)

    y = one.module(one.x)
    one()

    expected = one.x.detach().double() @ weight.T
    assert (y - expected).abs().max() <= tolerances.TRAINED_OUTPUT_F32 * expected.abs().max()
    gradient = one.gradient.double() @ weight
    assert one.x.grad is not None
    off = (one.x.grad - gradient).abs().max()
    assert off <= tolerances.TRAINED_OUTPUT_F32 * gradient.abs().max()


def test_all_arms_share_the_weight_and_train_nothing_of_it() -> None:
    weight = torch.randn(WIDTH, WIDTH)
    for arm in arms([5], [2]):
        module = layer(arm, weight)
        held = [p for name, p in module.named_parameters() if name.endswith("weight")]
        assert any(p.data_ptr() == weight.data_ptr() and not p.requires_grad for p in held)


def test_gradients_of_one_step_are_those_of_the_next() -> None:
    one = step(Arm("lora", 2))
    one()
    first = [p.grad for p in one.trained]
    one()

    for before, after in zip(first, one.trained, strict=True):
        assert before is not None
        assert after.grad is not None
        assert torch.equal(before, after.grad)


def test_bytes_of_a_lora_are_those_of_its_factors() -> None:
    found = allocations(Arm("lora", 4), step(Arm("lora", 4)), "cpu")

    factors = 2 * 4 * WIDTH * FLOAT
    assert found["parameters"] == found["gradients"] == factors
    assert 2 * factors <= found["states"] <= 2 * factors + 2 * 8  # and AdamW's counts of steps
    assert found["shared"] == 0
    assert found["saved"] >= TOKENS * (WIDTH + 4) * FLOAT  # x, and x A^T


def test_bytes_of_fourier_are_those_of_its_coefficients() -> None:
    found = allocations(Arm("fourier", 10), step(Arm("fourier", 10)), "cpu")

    assert found["parameters"] == found["gradients"] == 10 * FLOAT
    assert found["shared"] > 2 * 10 * 8
    assert found["saved"] == pytest.approx(TOKENS * WIDTH * FLOAT, rel=0.1)


def test_a_base_keeps_nothing_and_takes_output_and_gradient() -> None:
    found = allocations(Arm("base"), step(Arm("base")), "cpu")

    assert found == {
        "parameters": 0,
        "gradients": 0,
        "states": 0,
        "shared": 0,
        "saved": 0,
        "peak": 2 * TOKENS * WIDTH * FLOAT,
    }


def test_through_the_weight_a_step_holds_a_whole_weight_more() -> None:
    peaks = {
        path: allocations(Arm("fourier", 10, path), step(Arm("fourier", 10, path)), "cpu")["peak"]
        for path in PATHS
    }

    assert peaks["weight"] >= WIDTH**2 * FLOAT + 2 * TOKENS * WIDTH * FLOAT
    assert peaks["auto"] in {peaks["weight"], peaks["activation"]}


def test_the_plan_is_the_one_that_the_layer_followed(monkeypatch: pytest.MonkeyPatch) -> None:
    chosen = cost.Plan("weight", "activation", "weight")
    monkeypatch.setattr(cost, "plan", lambda *_, **__: chosen)
    arm = Arm("fourier", 10)

    assert plan_of(arm, step(arm)) == list(chosen)
    assert plan_of(Arm("lora", 2), step(Arm("lora", 2))) == []


def test_an_update_changes_numbers_of_its_own() -> None:
    one = step(Arm("lora", 2))
    before = [p.detach().clone() for p in one.trained]
    job: Any = update(one)

    job()

    assert all(torch.equal(p, b) for p, b in zip(one.trained, before, strict=True))
    optimizer = job.__self__
    moved = [p for group in optimizer.param_groups for p in group["params"]]
    assert [p.shape for p in moved] == [p.shape for p in before]
    assert not any(torch.equal(p, b) for p, b in zip(moved, before, strict=True))


def test_a_trial_says_what_each_arm_took(tmp_path: Path) -> None:
    steps: list[None] = []
    context = Context(tmp_path, tmp_path, tmp_path, "cpu", lambda: steps.append(None))

    found = measured(WIDTH, TOKENS, [5, 20], [1, 2], 2, context)["arms"]

    assert [(arm["kind"], arm["size"], arm["path"]) for arm in found] == [
        (arm.kind, arm.size, arm.path) for arm in arms([5, 20], [1, 2])
    ]
    assert all(len(arm["seconds"]) == 2 and min(arm["seconds"]) > 0 for arm in found)
    assert [arm["plan"] for arm in found if arm["path"] == "weight"] == [["weight"] * 3] * 2
    assert [(arm["kind"], arm["size"]) for arm in found if len(arm["update"]) == 2] == [
        ("lora", 1), ("lora", 2), ("fourier", 5), ("fourier", 20),
    ]  # fmt: skip
    assert len(steps) == 2
    assert list(tmp_path.iterdir()) == []
