"""What `to_peft` writes, loaded by PEFT itself: the delta weights are the format's."""
# ruff: noqa: TID251 -- PEFT is what the checkpoint is for

from __future__ import annotations

from pathlib import Path

import numpy as np
import peft
import pytest
import torch

import fourier_format
from fourier_converters.peft import to_peft
from fourier_format import Adapter
from fourier_format.adapter import Array
from tests.fourier_converters.adapters import delta, replaced, without_prints
from tests.fourier_converters.checkpoints import write_base
from tests.fourier_converters.command import converted
from tests.tolerances import DELTA_F32


class Block(torch.nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.query = torch.nn.Linear(4, 6)
        self.up = torch.nn.Linear(6, 10, bias=False)


class Net(torch.nn.Module):
    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.blocks = torch.nn.ModuleList([Block(), Block()])
        self.norm = torch.nn.LayerNorm(10)
        self.head = torch.nn.Linear(10, 3)


TARGETS = ("blocks.0.query", "blocks.1.query", "blocks.1.up")


@pytest.fixture
def net() -> Net:
    return Net()


@pytest.fixture
def whole(net: Net) -> Adapter:
    weights = {name: matrix(net, f"{name}.weight") for name in TARGETS}
    head = {"head.weight": np.full((3, 10), 2, np.float32), "head.bias": np.ones(3, np.float32)}
    return without_prints(weights, alpha=60.0, replacements=head)


def matrix(module: torch.nn.Module, name: str) -> Array:
    array: Array = module.get_parameter(name).detach().numpy().copy()
    return array


def merged(net: Net, checkpoint: Path) -> torch.nn.Module:
    """Returns the model with the adapter merged by PEFT; a warning of PEFT's fails the test."""
    model = peft.PeftModel.from_pretrained(net, checkpoint)
    result: torch.nn.Module = model.merge_and_unload()
    return result


def assert_deltas(net: Net, after: torch.nn.Module, whole: Adapter) -> None:
    before = Net()
    for target in whole.targets:
        name = f"{target.name}.weight"
        expected = delta(whole, target.name)
        got = matrix(after, name).astype(np.float64) - matrix(before, name)
        # The sum with the weight is rounded to float32 before the weight is taken off again.
        bar = DELTA_F32 * (np.abs(expected).max() + np.abs(matrix(before, name)).max())
        assert np.abs(got - expected).max() <= bar


def test_an_adapter_without_a_peft_origin_means_the_same_there(
    net: Net, whole: Adapter, tmp_path: Path
) -> None:
    to_peft(whole, tmp_path / "peft")

    after = merged(net, tmp_path / "peft")

    assert_deltas(net, after, whole)
    assert np.array_equal(matrix(after, "head.weight"), np.full((3, 10), 2, np.float32))
    assert np.array_equal(matrix(after, "head.bias"), np.ones(3, np.float32))


def test_layers_with_other_numbers_of_coefficients_load(
    net: Net, whole: Adapter, tmp_path: Path
) -> None:
    first, *others = whole.entry_sets
    few = replaced(first, entries=first.entries[:3], coefficients=first.coefficients[:, :3])
    uneven = replaced(whole, entry_sets=(few, *others))
    to_peft(uneven, tmp_path / "peft")

    assert_deltas(net, merged(net, tmp_path / "peft"), uneven)


def test_a_bias_trained_inside_a_target_arrives(net: Net, whole: Adapter, tmp_path: Path) -> None:
    ones = {"blocks.0.query.bias": np.ones(6, np.float32)}
    to_peft(replaced(whole, replacements=ones), tmp_path / "peft")

    after = merged(net, tmp_path / "peft")

    assert np.array_equal(matrix(after, "blocks.0.query.bias"), np.ones(6, np.float32))


def test_a_bias_trained_outside_the_targets_arrives(
    net: Net, whole: Adapter, tmp_path: Path
) -> None:
    """PEFT saves one with bias="all"; its module's other parameters stay the base's."""
    ones = {"norm.bias": np.ones(10, np.float32)}
    to_peft(replaced(whole, replacements=ones), tmp_path / "peft")

    after = merged(net, tmp_path / "peft")

    assert np.array_equal(matrix(after, "norm.bias"), np.ones(10, np.float32))
    assert np.array_equal(matrix(after, "norm.weight"), np.ones(10, np.float32))


def test_a_weight_trained_without_its_bias_arrives(
    net: Net, whole: Adapter, tmp_path: Path
) -> None:
    twos = {"head.weight": np.full((3, 10), 2, np.float32)}
    to_peft(replaced(whole, replacements=twos), tmp_path / "peft")

    after = merged(net, tmp_path / "peft")

    assert np.array_equal(matrix(after, "head.weight"), twos["head.weight"])
    assert np.array_equal(matrix(after, "head.bias"), matrix(Net(), "head.bias"))


@pytest.mark.parametrize("bias", ["none", "all", "fourier_only"])
def test_a_checkpoint_of_peft_with_a_changed_scale_loads(
    bias: str, net: Net, tmp_path: Path
) -> None:
    settings = peft.FourierFTConfig(
        n_frequency=5,
        n_frequency_pattern={r"0\.query": 3},
        target_modules=["query", "up"],
        modules_to_save=["head"],
        bias=bias,
        scaling=20.0,
    )
    trained = peft.get_peft_model(net, settings)
    for parameter in trained.parameters():
        parameter.data += 0.5 * parameter.requires_grad
    trained.save_pretrained(tmp_path / "peft")
    state = {f"{n}": matrix(Net(), n) for n, _ in Net().named_parameters()}
    base = write_base(tmp_path / "base", state)
    converted(tmp_path / "peft", "--to", "fft", "--base", base, "-o", tmp_path / "a.fft")
    whole = replaced(fourier_format.load(tmp_path / "a.fft"), alpha=60.0)
    to_peft(whole, tmp_path / "back")

    after = merged(Net(), tmp_path / "back")

    assert_deltas(net, after, whole)
    for name, array in whole.replacements.items():
        assert np.array_equal(matrix(after, name), array)


def test_patterns_give_each_module_what_peft_gives_it(net: Net, tmp_path: Path) -> None:
    """The first pattern that matches counts, and "up" alone matches no longer name."""
    pattern = {"up": 2, r"1\.query": 3, "query": 4, "blocks.1.up": 7}
    settings = peft.FourierFTConfig(
        n_frequency=5, n_frequency_pattern=pattern, target_modules=["query", "up"]
    )
    peft.get_peft_model(net, settings).save_pretrained(tmp_path / "peft")
    base = write_base(tmp_path / "base", {n: matrix(Net(), n) for n, _ in Net().named_parameters()})

    converted(tmp_path / "peft", "--to", "fft", "--base", base, "-o", tmp_path / "a.fft")

    whole = fourier_format.load(tmp_path / "a.fft")
    assert [whole.entry_set(t).count for t in whole.targets] == [4, 2, 3, 2]
