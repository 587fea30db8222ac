"""torch.compile traces an adapted layer without a break, and it computes the same."""

from __future__ import annotations

import contextlib
from typing import Any

import pytest
import torch
from torch import nn

from fourier_trainers.config import Path
from fourier_trainers.torch import FourierConfig, attach
from tests.fourier_trainers.torch.reference import error
from tests.fourier_trainers.torch.single import KINDS, Adapted
from tests.tolerances import TRAINED_OUTPUT_F32

# Dynamo says this to itself whenever it traces any autograd.Function.
pytestmark = pytest.mark.filterwarnings(
    "ignore:.class 'torch.autograd.function.Function'. should not be inst:DeprecationWarning"
)
PATHS: tuple[Path, ...] = ("weight", "activation")
paths = pytest.mark.parametrize("path", PATHS)
kinds = pytest.mark.parametrize("kind", KINDS)


@pytest.fixture(autouse=True)
def _fresh() -> None:
    torch.compiler.reset()


def run(adapted: Adapted, model: Any, dtype: torch.dtype | None) -> dict[str, torch.Tensor]:
    """Return outputs and gradients, under autocast to `dtype` if there is one."""
    adapted.member.zero_grad()
    x = adapted.x.clone().requires_grad_(adapted.x.is_floating_point())
    cast = contextlib.nullcontext() if dtype is None else torch.autocast("cpu", dtype)
    with cast:
        y = model(x)
    y.backward(adapted.g(y))
    assert adapted.coefficients.grad is not None
    found = {"y": y.detach(), "coefficients": adapted.coefficients.grad.clone()}
    return found if x.grad is None else found | {"x": x.grad}


@pytest.mark.parametrize("dtype", [None, torch.bfloat16], ids=str)
@paths
@kinds
def test_a_layer_is_one_graph_and_gives_the_same(
    kind: str, path: Path, dtype: torch.dtype | None
) -> None:
    adapted = Adapted(kind, path=path).to(torch.float32)
    plain = run(adapted, adapted.model, dtype)

    compiled = torch.compile(adapted.model, backend="aot_eager", fullgraph=True)

    for _ in range(2):
        got = run(adapted, compiled, dtype)
        assert all(error(got[name], plain[name]) < 1e-6 for name in plain)


@paths
@pytest.mark.parametrize("kind", ["linear", "embedding"])
def test_a_compiled_layer_sees_coefficients_that_change(kind: str, path: Path) -> None:
    adapted = Adapted(kind, path=path).to(torch.float32)
    compiled = torch.compile(adapted.model, backend="aot_eager", fullgraph=True)
    for training in (True, False):
        adapted.model.train(training)
        for factor in (1.0, -2.0):
            with torch.no_grad():
                adapted.coefficients.mul_(factor)
                got = compiled(adapted.x)

            expected = adapted.expected(adapted.g(got))
            assert error(got, expected["y"]) < TRAINED_OUTPUT_F32


@pytest.mark.parametrize("path", [*PATHS, "auto"])
def test_a_batch_of_another_size_is_no_error(path: Path) -> None:
    adapted = Adapted("linear", path=path).to(torch.float32)
    compiled = torch.compile(adapted.model, backend="aot_eager", fullgraph=True)
    for tokens in (3, 5, 700):
        x = torch.randn(tokens, 24)

        y = compiled(x)
        y.sum().backward()

        assert error(y, adapted.model(x).detach()) < TRAINED_OUTPUT_F32


# Inductor says the first of the complex numbers in an FFT, which it leaves to torch, and the second
# to itself.
@pytest.mark.filterwarnings("ignore:Torchinductor does not support code generation for complex")
@pytest.mark.filterwarnings("ignore:.torch.jit.script_method. is deprecated:DeprecationWarning")
@pytest.mark.slow
def test_inductor_gives_the_same() -> None:
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(24, 40), nn.GELU(), nn.Linear(40, 24))
    attach(model, FourierConfig(target_modules=("0", "2"), n=60, alpha=90.0, init="normal"))
    x = torch.randn(6, 24)
    parameters = [p for p in model.parameters() if p.requires_grad]
    plain = model(x)
    expected = torch.autograd.grad(plain.square().sum(), parameters)

    y = torch.compile(model, fullgraph=True)(x)
    got = torch.autograd.grad(y.square().sum(), parameters)

    assert error(y, plain.detach()) < TRAINED_OUTPUT_F32
    assert all(error(a, b) < TRAINED_OUTPUT_F32 for a, b in zip(got, expected, strict=True))
