from __future__ import annotations

import copy
import pickle

import pytest
import torch
from torch import nn

from fourier_format.errors import UsageError
from fourier_trainers.torch import attach, capture, detach, merge, set_active, unmerge
from tests.fourier_trainers.torch import models


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float16])
def test_unmerge_gives_the_base_back_bit_for_bit(dtype: torch.dtype) -> None:
    model = models.attached(models.mixed().to(dtype), *models.MIXED)
    before = models.look(model)
    ids = models.mixed_ids()
    with torch.no_grad():
        y = model(ids)

    assert merge(model) is model
    with torch.no_grad():
        assert torch.equal(model(ids), y)
    assert not torch.equal(model.state_dict()["head.weight"], before["state"]["head.weight"])
    unmerge(model)

    models.assert_as_before(before, model)


def test_merging_rounds_the_exact_sum_once() -> None:
    base = models.layers()
    model = models.attached(copy.deepcopy(base).double(), "0")
    half = models.attached(copy.deepcopy(base).to(torch.bfloat16), "0")
    for p, q in zip(model.parameters(), half.parameters(), strict=True):
        p.data = q.data.double()

    merge(model)
    merge(half)

    wide = model[0].weight
    assert torch.allclose(half[0].weight.double(), wide, rtol=2**-8, atol=0)
    exact = (half[0].weight == wide.to(torch.bfloat16)).float().mean()
    assert exact > 0.98  # float32 sums may fall on the other side of a tie


def test_several_adapters_merge_together() -> None:
    model = models.layers()
    for name, seed in (("a", 1), ("b", 2)):
        models.attached(model, "0", name=name, seed=seed)
    set_active(model, ("a", "b"))
    x = torch.randn(2, 8)
    expected = model(x).detach()

    merge(model)

    assert torch.allclose(model(x), expected, atol=1e-5)
    assert not model(x).requires_grad


def test_tied_weights_stay_tied_after_unmerging() -> None:
    model = models.attached(models.gpt2(), "lm_head")
    wte = model.transformer.wte.weight

    merge(model)
    assert model.lm_head.weight is not wte
    assert model.transformer.wte.weight is wte

    unmerge(model)
    assert model.lm_head.weight is wte


@pytest.mark.parametrize("copied", [copy.deepcopy, lambda m: pickle.loads(pickle.dumps(m))])
def test_copies_of_a_merged_model_unmerge_alone(copied: type[nn.Module]) -> None:
    base = models.layers()
    weight = base[0].weight.detach().clone()
    model = merge(models.attached(base, "0"))

    twin = copied(model)
    unmerge(twin)

    assert torch.equal(twin[0].weight, weight)  # type: ignore[index]
    assert not torch.equal(model[0].weight, weight)
    assert torch.equal(detach(unmerge(model))[0].weight, weight)


def test_a_merged_model_may_be_cast() -> None:
    model = models.attached(models.layers(), "0")
    weight = model[0].weight.detach().clone()

    unmerge(merge(model).to(torch.bfloat16))

    assert torch.equal(model[0].weight, weight.to(torch.bfloat16))


def test_a_merged_model_is_captured_as_its_adapter() -> None:
    model = models.attached(models.layers(), "0")
    before = capture(model)

    after = capture(merge(model))

    prints = [adapter.entry_sets[0].fingerprints for adapter in (before, after)]
    assert prints[0] is not None
    assert prints[1] is not None
    assert (prints[0].sha256 == prints[1].sha256).all()


def test_what_makes_no_sense_is_refused() -> None:
    model = models.layers()
    with pytest.raises(UsageError, match=r"no adapter attached.*call attach"):
        merge(model)
    attach(model, models.config("0"))
    with pytest.raises(UsageError, match="nothing is merged"):
        unmerge(model)
    set_active(model, None)
    with pytest.raises(UsageError, match="no adapter is active"):
        merge(model)
    set_active(model, "default")
    merge(model)
    with pytest.raises(UsageError, match="merged already"):
        merge(model)
    with pytest.raises(UsageError, match=r"merged into the base's; call unmerge"):
        detach(model)
    unmerge(model)
    detach(model)


def test_no_state_is_loaded_over_merged_weights() -> None:
    model = models.attached(models.layers(), "0", "2")
    state = {key: value.clone() for key, value in model.state_dict().items()}
    merge(model)

    with pytest.raises(UsageError, match="delta weights are merged"):
        model.load_state_dict(state)

    unmerge(model)
    model.load_state_dict(state)
