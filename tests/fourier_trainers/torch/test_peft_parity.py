"""Trained by PEFT and by ours from one start on the same batches, coefficients stay the same.

PEFT is right at MiniLM's width of 384; at 2048 its inverse FFT is not, with two threads on a CPU.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import cache
from typing import Any

import pytest
import torch
from peft import FourierFTConfig, get_peft_model
from torch import Tensor, nn
from transformers import AutoModel, AutoTokenizer

from fourier_trainers.config import Path
from fourier_trainers.torch import FourierConfig, TorchRandperm, attach
from tests.real.bases import MINILM
from tests.real.training import loss_of, sentence_pairs
from tests.tolerances import PEFT_ADAMW, PEFT_GRADIENT, PEFT_SGD

pytestmark = [
    pytest.mark.real,
    pytest.mark.slow,
    # What PEFT still asks transformers.
    pytest.mark.filterwarnings("ignore:.is_gradient_checkpointing. is deprecated:FutureWarning"),
]
STEPS = 50
ROWS = 2
TARGETS = ["query", "value"]
COUNT = 300
ALPHA = 150.0
OPTIMIZERS: dict[str, Callable[[list[nn.Parameter]], torch.optim.Optimizer]] = {
    "sgd": lambda p: torch.optim.SGD(p, lr=30.0, momentum=0.9),
    "adamw": lambda p: torch.optim.AdamW(p, lr=0.05),
}
BARS = {"sgd": PEFT_SGD, "adamw": PEFT_ADAMW}
Trained = tuple[dict[str, Tensor], dict[str, Tensor], list[float]]


def base() -> Any:
    return AutoModel.from_pretrained(
        MINILM, hidden_dropout_prob=0.0, attention_probs_dropout_prob=0.0
    ).train()


def of_peft() -> tuple[nn.Module, dict[str, nn.Parameter]]:
    config = FourierFTConfig(n_frequency=COUNT, scaling=ALPHA, target_modules=TARGETS)
    with torch.random.fork_rng():
        torch.manual_seed(11)
        model = get_peft_model(base(), config)
    key = ".fourierft_spectrum.default"
    found = {
        name.removeprefix("base_model.model.").removesuffix(key): parameter
        for name, parameter in model.named_parameters()
        if name.endswith(key)
    }
    return model, found


def of_ours(path: Path) -> tuple[nn.Module, dict[str, nn.Parameter]]:
    config = FourierConfig(
        target_modules=TARGETS, n=COUNT, alpha=ALPHA, entries=TorchRandperm(), seed=777, path=path
    )
    model = attach(base(), config)
    key = ".fourier.default.coefficients"
    found = {
        name.removesuffix(key): parameter
        for name, parameter in model.named_parameters()
        if name.endswith(key)
    }
    start = of_peft()[1]
    assert set(found) == set(start)
    for name, parameter in found.items():
        parameter.data = start[name].detach().clone()
    return model, found


def trained(model: nn.Module, found: dict[str, nn.Parameter], optimizer: str) -> Trained:
    """Return the first gradients, the coefficients at the end, and the losses."""
    tokenizer = AutoTokenizer.from_pretrained(MINILM)
    pairs = sentence_pairs()
    steps = OPTIMIZERS[optimizer](list(found.values()))
    first, losses = dict[str, Tensor](), list[float]()
    for step in range(STEPS):
        batch = [pairs[(step * ROWS + row) % len(pairs)] for row in range(ROWS)]
        steps.zero_grad()
        loss = loss_of(model, tokenizer, batch)
        torch.autograd.backward(loss)
        if not step:
            first = {name: p.grad.clone() for name, p in found.items() if p.grad is not None}
        steps.step()
        losses.append(loss.item())
    return first, {name: p.detach().clone() for name, p in found.items()}, losses


@cache
def by_peft(optimizer: str) -> Trained:
    return trained(*of_peft(), optimizer)


def distance(a: dict[str, Tensor], b: dict[str, Tensor]) -> float:
    """Return the largest relative distance of two coefficient vectors of one target."""
    assert set(a) == set(b)
    return max(float((a[k] - b[k]).norm() / b[k].norm()) for k in b)


@pytest.mark.parametrize("path", ["weight", "activation", "auto"])
@pytest.mark.parametrize("optimizer", OPTIMIZERS)
def test_fifty_steps_end_where_peft_ends(optimizer: str, path: Path) -> None:
    start = {name: p.detach().clone() for name, p in of_peft()[1].items()}
    peft_first, peft_last, peft_losses = by_peft(optimizer)

    first, last, losses = trained(*of_ours(path), optimizer)

    assert len(last) == 12
    assert distance(peft_last, start) > 0.1, "nothing was learnt, so that nothing is compared"
    assert distance(first, peft_first) < PEFT_GRADIENT
    assert distance(last, peft_last) < BARS[optimizer]
    assert losses == pytest.approx(peft_losses, rel=1e-3, abs=1e-6)
