"""A control differs from FourierFT in its basis, and in nothing else."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from experiments.text.controls import Control, Delta
from experiments.text.deltas import delta_norm
from experiments.text.methods import Fourier, Lora
from fourier_format import delta_weight
from fourier_trainers.torch import FourierConfig, attach, capture
from tests import tolerances

WIDTH, N, ALPHA = 32, 40, 150.0


class Model(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.query = nn.Linear(WIDTH, WIDTH)
        self.classifier = nn.Linear(WIDTH, 2)

    def forward(self, states: Tensor) -> Tensor:
        answer: Tensor = self.classifier(self.query(states))
        return answer


def ours(coefficients: Tensor) -> tuple[Model, Tensor]:
    """Returns a model with FourierFT of these coefficients, and the delta."""
    model = Model()
    attach(model, FourierConfig(target_modules=("query",), n=N, alpha=ALPHA))
    parameter = next(model.query.fourier.parameters())  # type: ignore[union-attr]
    with torch.no_grad():
        parameter.copy_(coefficients)
    adapter = capture(model)
    return model, torch.from_numpy(np.array(delta_weight(adapter, adapter.targets[0])))


def control_of(delta: Tensor) -> Model:
    """Returns a model whose control has two-sided columns that make `delta`."""
    left, values, right = torch.linalg.svd(delta)
    model = Model()
    Control("gaussian", WIDTH, ALPHA).apply(model, ["query"], seed=0)
    module = Delta(left.T.contiguous(), right.contiguous())
    model.query.add_module("control", module)
    with torch.no_grad():
        module.coefficients.copy_(values)
    return model


@pytest.mark.parametrize("precision", ["float32", "bfloat16"])
def test_the_same_delta_gives_the_same_answers_under_autocast_too(precision: str) -> None:
    torch.manual_seed(1)
    states = torch.randn(64, WIDTH)
    fourier, delta = ours(0.02 * torch.randn(N))
    control = control_of(delta)

    with torch.autocast("cpu", torch.bfloat16, enabled=precision == "bfloat16"):
        base = Model()(states).float()
        changes = [(model(states).float() - base).detach() for model in (fourier, control)]
    whole = Model()
    with torch.no_grad():
        whole.query.weight += delta
    exact = (whole(states) - Model()(states)).detach()

    errors = [float((change - exact).norm() / exact.norm()) for change in changes]
    if precision == "float32":
        assert max(errors) <= tolerances.CONTROL
    else:
        assert errors[1] <= tolerances.CONTROL_HALF_RATIO * errors[0]


def test_the_size_of_a_delta_is_told_for_every_method() -> None:
    fourier, delta = ours(torch.ones(N))
    lora = Model()
    Lora(2, 4.0).apply(lora, ["query"], seed=0)
    found = delta_norm(Fourier(N, ALPHA), fourier)
    assert found == pytest.approx(float(delta.norm()), rel=tolerances.CONTROL)

    assert delta_norm(Lora(2, 4.0), lora) == 0.0
    assert delta_norm(Control("gaussian", N, ALPHA), control_of(delta)) == pytest.approx(
        found, rel=tolerances.CONTROL
    )
