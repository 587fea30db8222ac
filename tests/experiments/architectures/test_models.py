"""Every architecture can be made, adapted and trained."""

from __future__ import annotations

import pytest
import torch

from experiments.architectures.models import ARCHITECTURES, make_plain
from experiments.architectures.shapes import Shape
from fourier_trainers.torch import FourierConfig, attach, summary

TARGETS = {
    "bert": 2, "mpnet": 2, "deberta": 2, "gpt2": 1, "gpt_neo": 4, "llama": 2, "vit": 2, "resnet": 4,
}  # fmt: skip
"""Of one layer; GPT-Neo has layers in pairs, ResNet a block of two convolutions in each stage."""


@pytest.mark.parametrize("name", TARGETS)
def test_an_architectures_targets_are_found(name: str) -> None:
    kind = ARCHITECTURES[name]
    model = kind.model(Shape(1, 64), seed=0)
    heads = () if kind.head is None else (kind.head,)
    attach(model, FourierConfig(target_modules=kind.targets, n=20, modules_to_save=heads))
    assert summary(model).targets == TARGETS[name]


def test_a_seed_decides_random_weights() -> None:
    first, again, other = (ARCHITECTURES["vit"].model(Shape(1, 64), seed) for seed in (1, 1, 2))
    weight = "vit.layers.0.attention.q_proj.weight"
    assert first.get_parameter(weight).equal(again.get_parameter(weight))
    assert not first.get_parameter(weight).equal(other.get_parameter(weight))


def test_an_architecture_without_shapes_says_so() -> None:
    with pytest.raises(SystemExit, match="has its weights"):
        ARCHITECTURES["efficientnet"].model(Shape(1, 64), seed=0)


@pytest.mark.real
def test_plain_convolutions_compute_what_those_that_pad_themselves_do() -> None:
    package = pytest.importorskip("efficientnet_lite_pytorch")
    torch.manual_seed(0)
    model = package.EfficientNet.from_name("efficientnet-lite0", num_classes=4).eval()
    x = torch.randn(2, 3, 96, 96)
    with torch.no_grad():
        before = model(x)
        make_plain(model)
        after = model(x)
    assert type(model._blocks[1]._expand_conv) is torch.nn.Conv2d
    assert (after - before).abs().max() <= 1e-6 * before.abs().max()
