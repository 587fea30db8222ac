from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor, nn

from fourier_format.errors import TargetNotFoundError, UsageError
from fourier_trainers.torch import active, adapter_rows, merge, set_active
from tests.fourier_trainers.torch import models

ROWS = ("a", None, "b", "a", "b")


def two(model: Any, *targets: str, **more: Any) -> Any:
    """Attaches a and b, whose heads and biases differ, if they have any."""
    for name, seed in (("a", 1), ("b", 2)):
        models.attached(model, *targets, name=name, seed=seed, **more)
        with torch.no_grad():
            for key, p in model.named_parameters():
                if p.requires_grad and "fourier" not in key:
                    p.add_(seed)
    return model


def row_by_row(model: Any, x: Tensor, rows: tuple[str | None, ...] = ROWS) -> Tensor:
    """Returns what each row gives alone, under its adapter."""
    before = active(model)
    outputs = []
    for k, name in enumerate(rows):
        set_active(model, name)
        outputs.append(model(x[k : k + 1]))
    set_active(model, before)
    return torch.cat(outputs)


def test_the_latest_adapter_is_active_until_another_is_set() -> None:
    model = two(models.layers(), "0")
    assert active(model) == ("b",)

    set_active(model, "a")
    assert active(model) == ("a",)
    set_active(model, ["a", "b", "a"])
    assert active(model) == ("a", "b")
    set_active(model, None)
    assert active(model) == ()


def test_only_what_is_active_is_trained() -> None:
    model = two(models.layers(), "0", modules_to_save=("2",))

    set_active(model, "a")

    trained = {n for n, p in model.named_parameters() if p.requires_grad}
    assert trained == {"0.fourier.a.coefficients", "2.weight", "2.bias"}
    set_active(model, None)
    assert not any(p.requires_grad for p in model.parameters())


def test_heads_and_biases_come_and_go_with_their_adapter() -> None:
    model = models.layers()
    head, bias = model[2].weight, model[0].bias
    two(model, "0", modules_to_save=("2",), bias="targets")

    set_active(model, "a")
    assert torch.equal(model[2].weight, head + 1)
    assert torch.equal(model[0].bias, bias + 1)
    set_active(model, "b")
    assert torch.equal(model[2].weight, head + 2)
    set_active(model, None)
    assert model[2].weight is head
    assert model[0].bias is bias


def test_two_adapters_with_one_head_are_not_added() -> None:
    model = two(models.layers(), "0", modules_to_save=("2",))

    with pytest.raises(UsageError, match=r"2\.bias: two adapters have their own .*got a and b"):
        set_active(model, ("a", "b"))

    assert active(model) == ("b",)


def test_tied_parameters_trained_whole_stay_one() -> None:
    model = models.bert("BertForMaskedLM")
    models.attached(model, "query", bias="all")
    ids = models.token_ids()

    model(ids).logits.sum().backward()

    predictions = model.cls.predictions
    assert predictions.bias is predictions.decoder.bias
    assert predictions.bias.grad is not None


def test_an_output_layer_trained_whole_leaves_the_embedding_it_was_tied_to() -> None:
    model = models.gpt2()
    models.attached(model, "c_attn", modules_to_save=("lm_head",))
    ids = models.token_ids()

    model(ids).logits.sum().backward()

    assert model.lm_head.weight is not model.transformer.wte.weight
    assert model.lm_head.weight.grad is not None
    assert not model.transformer.wte.weight.requires_grad
    set_active(model, None)
    assert model.lm_head.weight is model.transformer.wte.weight


def test_unknown_names_change_nothing() -> None:
    model = two(models.layers(), "0")

    with pytest.raises(UsageError, match=r"no such adapter \(got c, expected one of: a, b\)"):
        set_active(model, ("a", "c"))
    with pytest.raises(UsageError, match="no such adapter"), adapter_rows(model, ["c"]):
        pass
    with pytest.raises(UsageError, match=r"a list of names"), adapter_rows(model, "ab"):
        pass

    assert active(model) == ("b",)
    with pytest.raises(UsageError, match=r"Linear: the model has no adapter attached.*attach\("):
        set_active(nn.Linear(2, 2), "a")


@pytest.mark.parametrize("target", models.MIXED)
@pytest.mark.parametrize("path", ["auto", "weight", "activation"])
def test_rows_equal_each_row_alone(target: str, path: str) -> None:
    model, ids = two(models.mixed().double(), target, path=path), models.mixed_ids(5)
    expected = row_by_row(model, ids)

    with adapter_rows(model, ROWS):
        y = model(ids)
        with torch.no_grad():
            evaluated = model(ids)

    assert torch.allclose(y, expected, rtol=0, atol=1e-10)
    assert torch.allclose(evaluated, expected, rtol=0, atol=1e-10)
    assert (expected - row_by_row(model, ids, (None,) * 5)).abs().max() > 1e-3


@pytest.mark.parametrize(
    "more", [{"modules_to_save": ("head",)}, {"modules_to_save": ("norm", "head"), "bias": "all"}]
)
@pytest.mark.parametrize("active_one", ["a", "b", None])
def test_rows_have_heads_and_biases_of_their_own(more: Any, active_one: str | None) -> None:
    model, ids = two(models.mixed().double(), "conv", "mix", **more), models.mixed_ids(5)
    set_active(model, active_one)
    expected = row_by_row(model, ids)

    with adapter_rows(model, ROWS):
        y = model(ids)

    assert torch.allclose(y, expected, rtol=0, atol=1e-10)
    assert active(model) == (() if active_one is None else (active_one,))
    assert torch.equal(row_by_row(model, ids), expected)


def test_rows_of_a_classifier_have_their_labels_own_heads() -> None:
    model = models.bert("BertForSequenceClassification").double()
    two(model, "query", "value", modules_to_save=("classifier", "pooler"))
    ids = models.token_ids(5)
    expected = torch.cat([_logits(model, ids[k : k + 1], name) for k, name in enumerate(ROWS)])

    with adapter_rows(model, ROWS):
        y = model(ids).logits

    assert torch.allclose(y, expected, rtol=0, atol=1e-10)


def _logits(model: Any, ids: Tensor, name: str | None) -> Tensor:
    set_active(model, name)
    with torch.no_grad():
        logits: Tensor = model(ids).logits
    return logits


def test_rows_give_gradients_to_their_own_adapters() -> None:
    model, ids = two(models.mixed(), "conv", modules_to_save=("head",)), models.mixed_ids(2)
    set_active(model, "a")

    with adapter_rows(model, ("a", None)):
        model(ids).sum().backward()

    gradients = {n for n, p in model.named_parameters() if p.grad is not None}
    assert gradients == {"conv.fourier.a.coefficients", "head.weight", "head.bias"}


def test_rows_that_do_not_fit_the_batch_are_refused() -> None:
    model = two(models.mixed(), "mix")

    with (
        pytest.raises(UsageError, match=r"got input \(3, 20, 6\), expected 2 rows"),
        adapter_rows(model, ("a", "b")),
    ):
        model(models.mixed_ids(3))

    model(models.mixed_ids(3))  # the rows are gone


def test_rows_cannot_have_what_a_parent_reads() -> None:
    torch.manual_seed(0)
    layer = nn.TransformerEncoderLayer(8, 2, 16, batch_first=True)
    model, x = two(layer, "linear1"), torch.randn(2, 3, 8)
    with pytest.raises(UsageError, match="rows cannot differ"), adapter_rows(model, ("a", "b")):
        model(x)

    torch.manual_seed(0)
    outer = nn.Sequential(nn.Linear(8, 8), nn.TransformerEncoderLayer(8, 2, 16, batch_first=True))
    two(outer, "0", modules_to_save=("out_proj",))
    with (
        pytest.raises(TargetNotFoundError, match=r"1\.self_attn\.out_proj: this module was not"),
        adapter_rows(outer, ("a", "b")),
    ):
        outer(x)

    two(other := nn.Sequential(nn.Linear(8, 8), nn.LSTM(8, 8)), "0", modules_to_save=("1",))
    with pytest.raises(UsageError, match=r"1 \(LSTM\): rows"), adapter_rows(other, ("a", "b")):
        other(x)


@pytest.mark.slow
def test_rows_generate_what_each_would_alone() -> None:
    model = two(models.llama(), "q_proj", "v_proj", "down_proj", alpha=300.0)
    ids, rows = models.token_ids(3), ("a", None, "b")
    more = {"max_new_tokens": 6, "do_sample": False, "pad_token_id": 0, "use_cache": True}
    alone = []
    for k, name in enumerate(rows):
        set_active(model, name)
        alone.append(model.generate(ids[k : k + 1], min_new_tokens=6, **more))

    with adapter_rows(model, rows):
        together = model.generate(ids, min_new_tokens=6, **more)

    assert torch.equal(together, torch.cat(alone))
    set_active(model, None)
    assert not torch.equal(model.generate(ids, min_new_tokens=6, **more), together)


def test_merged_models_refuse_to_switch() -> None:
    model = two(models.layers(), "0")
    merge(model)

    with pytest.raises(UsageError, match=r"merged into the base's; call unmerge"):
        set_active(model, "a")
    with pytest.raises(UsageError, match=r"call unmerge"), adapter_rows(model, ["a"]):
        pass
    with pytest.raises(UsageError, match=r"call unmerge"):
        models.attached(model, "2", name="c")
