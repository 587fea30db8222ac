"""Every basis is given the alpha that makes its deltas as large as dft2's."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from torch import Tensor, nn

import fourier_format
from experiments.bases import same_size
from experiments.text.controls import Control, deltas
from fourier_trainers.torch import FourierConfig, attach, capture
from tests import tolerances

WIDTH, N, ALPHA = 96, 300, 150.0
EXPECTED = ALPHA * math.sqrt(N / 2) / WIDTH  # the Frobenius norm of dft2's, on average


class Model(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.query = nn.Linear(WIDTH, WIDTH, bias=False)
        self.classifier = nn.Linear(WIDTH, 2)

    def forward(self, states: Tensor) -> Tensor:
        answer: Tensor = self.classifier(self.query(states))
        return answer


@pytest.mark.parametrize("transform", ["dft2", "dct2", "dht2", "dwt2:db1"])
def test_normal_coefficients_make_deltas_of_one_size(transform: str) -> None:
    alpha = same_size(transform, ALPHA, WIDTH)
    model = Model()
    attach(
        model,
        FourierConfig(
            target_modules=("query",), n=N, alpha=alpha, transform=transform, init="normal"
        ),
    )
    adapter = capture(model)

    delta = fourier_format.delta_weight(adapter, adapter.targets[0])

    assert np.linalg.norm(delta) == pytest.approx(EXPECTED, rel=tolerances.SIZE_OF_DRAWN_DELTA)


@pytest.mark.parametrize("basis", ["gaussian", "orthogonal"])
def test_controls_make_deltas_of_that_size_too(basis: str) -> None:
    model = Model()
    before = {name: value.detach().clone() for name, value in model.query.named_parameters()}
    Control(basis, N, ALPHA).apply(model, ["query"], seed=0)  # type: ignore[arg-type]
    with torch.no_grad():
        drawn = torch.randn(N, generator=torch.Generator().manual_seed(1))
        model.get_parameter("query.control.coefficients").copy_(drawn)

    (delta,) = deltas(model)

    size = float(torch.linalg.norm(delta))
    assert size == pytest.approx(EXPECTED, rel=tolerances.SIZE_OF_DRAWN_DELTA)
    after = dict(model.query.named_parameters())
    assert all(torch.equal(after[name], value) for name, value in before.items())
