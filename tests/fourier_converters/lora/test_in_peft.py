"""What `to_lora` writes, loaded by PEFT itself: the delta weights are those of the adapter."""
# ruff: noqa: TID251 -- PEFT is what the checkpoint is for

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import numpy as np
import peft
import pytest
import torch
from transformers.pytorch_utils import Conv1D

from fourier_converters.lora import to_lora
from fourier_format import Adapter
from fourier_format.adapter import Array
from fourier_format.kinds import canonical_matrix
from tests.fourier_converters.adapters import delta, replaced, without_prints
from tests.tolerances import DELTA_F32


class Net(torch.nn.Module):
    """A linear layer, one stored (in, out), an embedding and a head."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.embed = torch.nn.Embedding(20, 12)
        self.query = torch.nn.Linear(12, 16)
        self.c_attn = Conv1D(24, 16)
        self.query2 = torch.nn.Linear(24, 24)  # of which "query" is a part
        self.head = torch.nn.Linear(24, 3)


LAYOUTS = {
    "embed": ("embedding", "vocab_dim"),
    "query": ("linear", "out_in"),
    "c_attn": ("linear", "in_out"),
}


def matrix(model: torch.nn.Module, name: str, parameter: str = "weight") -> Array:
    array: Array = model.get_parameter(f"{name}.{parameter}").detach().numpy().copy()
    return array


def whole(
    *names: str, replacements: Mapping[str, Array] | None = None, conv1d: bool = True
) -> Adapter:
    net = Net()
    weights = {n: canonical_matrix(matrix(net, n), *LAYOUTS[n]) for n in names}
    made = without_prints(
        weights,
        alpha=60.0,
        replacements=replacements,
        base_model={"model_type": "gpt2" if conv1d else "bert"},
    )
    targets = tuple(replaced(t, kind=LAYOUTS[t.name][0]) for t in made.targets)
    result: Adapter = replaced(made, targets=targets)
    return result


def merged(checkpoint: Path) -> torch.nn.Module:
    """Returns the model with the LoRA merged by PEFT; a warning of PEFT's fails the test."""
    model = peft.PeftModel.from_pretrained(Net(), checkpoint)
    result: torch.nn.Module = model.merge_and_unload()
    return result


@pytest.mark.parametrize("name", LAYOUTS)
def test_layers_of_every_kind_get_their_delta_weight(name: str, tmp_path: Path) -> None:
    adapter = whole(name, conv1d=name == "c_attn")
    to_lora(adapter, tmp_path / "lora", rank=10, min_energy=1.0)

    after, before = merged(tmp_path / "lora"), Net()

    got = canonical_matrix(matrix(after, name), *LAYOUTS[name]).astype(np.float64)
    was = canonical_matrix(matrix(before, name), *LAYOUTS[name])
    expected = delta(adapter, name)
    bar = 2 * DELTA_F32 * (np.abs(expected).max() + np.abs(was).max())
    assert np.abs(got - was - expected).max() <= bar
    assert np.abs(expected).max() > 100 * bar
    others = {"embed", "query", "c_attn", "query2", "head"} - {name}
    assert all(np.array_equal(matrix(after, n), matrix(before, n)) for n in others)


def test_a_low_rank_is_the_best_of_its_rank_there_too(tmp_path: Path) -> None:
    adapter = whole("query", conv1d=False)
    to_lora(adapter, tmp_path / "lora", rank=3, min_energy=0.0)

    change = matrix(merged(tmp_path / "lora"), "query") - matrix(Net(), "query")

    squares = np.linalg.svd(delta(adapter, "query"), compute_uv=False) ** 2
    lost = ((change - delta(adapter, "query")) ** 2).sum()
    assert lost == pytest.approx(squares[3:].sum(), rel=1e-4)


def test_heads_and_biases_come_with_it(tmp_path: Path) -> None:
    replacements = {
        "head.weight": np.full((3, 24), 2, np.float32),
        "head.bias": np.ones(3, np.float32),
        "query.bias": np.full(16, 5, np.float32),
    }
    to_lora(whole("query", replacements=replacements, conv1d=False), tmp_path / "lora", rank=10)

    after = merged(tmp_path / "lora")

    for name, array in replacements.items():
        assert np.array_equal(matrix(after, *name.split(".")), array)


def test_a_head_alone_is_no_target(tmp_path: Path) -> None:
    to_lora(whole("query", conv1d=False), tmp_path / "lora", rank=10)

    after = merged(tmp_path / "lora")

    assert np.array_equal(matrix(after, "query2"), matrix(Net(), "query2"))
