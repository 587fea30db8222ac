from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import partial
from typing import Any

import pytest
import torch
from torch import nn
from torch.distributed.algorithms._checkpoint.checkpoint_wrapper import checkpoint_wrapper

from fourier_trainers.torch import (
    capture,
    detach,
    load_trained_state,
    merge,
    parameter_groups,
    summary,
    trained_state,
    unmerge,
    watch,
)
from tests.fourier_trainers.torch import models

TRAINED = {"block.q.fourier.default.coefficients", "block.q.bias", "head.weight", "head.bias"}


class Net(nn.Module):
    """A block with a target and a batch normalisation, and a head."""

    def __init__(self) -> None:
        super().__init__()
        self.block = nn.Sequential()
        self.block.q = nn.Linear(8, 6)
        self.block.norm = nn.BatchNorm1d(6)
        self.head = nn.Linear(6, 2)

    def forward(self, x: Any) -> Any:
        return self.head(self.block(x))


def attached() -> Any:
    torch.manual_seed(0)
    return models.attached(Net().eval(), "q", modules_to_save=("head",), bias="targets")


def compiled(module: nn.Module) -> Any:
    return torch.compile(module, backend="eager")


def wrap(model: nn.Module, path: str, wrapper: Callable[[nn.Module], Any]) -> None:
    owner, _, leaf = path.rpartition(".")
    setattr(model.get_submodule(owner), leaf, wrapper(model.get_submodule(path)))


def loss(model: Any) -> Any:
    return model(torch.ones(3, 8)).square().mean()


wrappers = pytest.mark.parametrize("wrapper", [compiled, checkpoint_wrapper])
paths = pytest.mark.parametrize("path", ["block.q", "block", "head"])


@pytest.fixture(autouse=True)
def _eager() -> Iterator[None]:
    """What is compiled is only wrapped: `test_compiled.py` is about what it computes."""
    with torch.compiler.set_stance("force_eager"):
        yield


@wrappers
@paths
def test_what_is_wrapped_after_attach_is_trained_as_if_it_were_not(
    path: str, wrapper: Callable[[nn.Module], Any]
) -> None:
    plain, model = attached(), attached()
    wrap(model, path, wrapper)
    for one in (plain, model):
        models.train(one, partial(loss, one))

    expected = trained_state(plain)
    assert trained_state(model).keys() == expected.keys() == TRAINED
    assert all(torch.allclose(value, expected[k]) for k, value in trained_state(model).items())
    adapter = capture(model)
    assert [target.name for target in adapter.targets] == ["block.q"]
    assert set(adapter.replacements) == {"block.q.bias", "head.weight", "head.bias"}
    assert str(summary(model)) == str(summary(plain))
    assert [len(g["params"]) for g in parameter_groups(model, 0.1)] == [1, 1, 2]
    watch(model).observe(0)
    assert torch.allclose(loss(merge(model)), loss(plain))
    unmerge(model)


@wrappers
@paths
def test_what_was_wrapped_since_is_left_by_detach_as_it_was_before_attach(
    path: str, wrapper: Callable[[nn.Module], Any]
) -> None:
    torch.manual_seed(0)
    model: Any = Net().eval()
    model.block.norm.requires_grad_(requires_grad=False)
    before = {id(p): p.requires_grad for p in model.parameters()}
    values = [p.clone() for p in model.parameters()]
    models.attached(model, "q", modules_to_save=("head",), bias="targets")
    wrap(model, path, wrapper)
    models.train(model, lambda: loss(model))

    detach(model)

    assert {id(p): p.requires_grad for p in model.parameters()} == before
    assert all(torch.equal(p, then) for p, then in zip(model.parameters(), values, strict=True))


@wrappers
def test_running_means_of_what_was_wrapped_since_are_warned_of(
    wrapper: Callable[[nn.Module], Any],
) -> None:
    model = attached()
    wrap(model, "block", wrapper)
    model.block.get_buffer("norm.running_mean").add_(1)

    with pytest.warns(UserWarning, match=r"^block\.norm\.running_mean: 1 buffers"):
        capture(model)


@wrappers
@paths
def test_states_go_between_a_model_that_is_wrapped_and_one_that_is_not(
    path: str, wrapper: Callable[[nn.Module], Any]
) -> None:
    plain, model = attached(), attached()
    wrap(model, path, wrapper)
    doubled = {key: 2 * value for key, value in trained_state(plain).items()}

    for one in (plain, model):
        load_trained_state(one, doubled)
        one.load_state_dict(one.state_dict())  # the whole of it

    assert all(torch.equal(value, doubled[key]) for key, value in trained_state(model).items())
    model.load_state_dict(trained_state(attached()))
    assert loss(model) == loss(attached())
