from __future__ import annotations

import math
from pathlib import Path

import numpy as np
import peft
import pytest
import torch

import fourier_format
from fourier_converters.onnx import to_onnx
from fourier_converters.peft import to_peft
from fourier_format.errors import BaseMismatchError, InvalidAdapterError, UsageError
from fourier_format.validation import validate
from fourier_trainers.torch import TorchRandperm, capture, load_adapter, merge, set_active
from tests.fourier_trainers.torch import models


def test_what_is_captured_is_valid_and_says_what_it_is_of(tmp_path: Path) -> None:
    model = models.bert("BertForSequenceClassification", id2label={0: "no", 1: "yes"})
    models.attached(model, "query", "word_embeddings", modules_to_save=("classifier",))

    adapter = capture(model, metadata={"run": 1})

    fourier_format.save(adapter, tmp_path / "a.fft")
    report = validate(tmp_path / "a.fft")
    assert not report.violations
    assert [t.kind for t in adapter.targets] == ["embedding", "linear", "linear"]
    assert adapter.base_model == {"model_type": "bert"}
    assert adapter.labels == ("no", "yes")
    assert set(adapter.replacements) == {"classifier.weight", "classifier.bias"}
    assert adapter.metadata == {"run": 1}
    assert all(s.fingerprints is not None for s in adapter.entry_sets)


def test_labels_belong_to_a_head() -> None:
    assert capture(models.attached(models.bert(), "query")).labels is None


def test_gain_is_multiplied_back() -> None:
    model = models.attached(models.layers(), "0", gain=8.0)
    theta = model[0].fourier["default"].coefficients.detach().numpy()

    found = capture(model).entry_sets[0].coefficients[0]

    assert np.array_equal(found, theta * np.float32(8))


def test_bfloat16_coefficients_stay_so() -> None:
    model = models.attached(models.layers(), "0").to(torch.bfloat16)

    coefficients = capture(model).entry_sets[0].coefficients

    assert str(coefficients.dtype) == "bfloat16"


def test_what_is_captured_stays_while_the_model_trains_on() -> None:
    model = models.attached(models.layers(), "0", modules_to_save=("2",))
    best = capture(model)
    then = fourier_format.to_bytes(best)

    models.train(model, lambda: model(torch.ones(1, 8)).square().mean())

    assert fourier_format.to_bytes(best) == then
    assert fourier_format.to_bytes(capture(model)) != then


def test_several_adapters_need_a_name_unless_one_is_active() -> None:
    model = models.layers()
    for name, seed in (("a", 1), ("b", 2)):
        models.attached(model, "0", name=name, seed=seed)

    assert capture(model).seed == 2
    assert capture(model, "a").seed == 1
    set_active(model, None)
    with pytest.raises(UsageError, match=r"several adapters are attached \(expected one of: a, b"):
        capture(model)
    with pytest.raises(UsageError, match=r"no such adapter \(got c, expected one of: a, b"):
        capture(model, "c")


@pytest.mark.parametrize("value", [math.nan, math.inf])
def test_coefficients_that_are_not_finite_are_refused_by_target(value: float) -> None:
    model = models.attached(models.layers(), "0", "2")
    with torch.no_grad():
        model[2].fourier["default"].coefficients[3:5] = value

    with pytest.raises(InvalidAdapterError, match=r"^2: 2 of 12 coefficients are not .*lower"):
        capture(model)


def test_a_head_that_is_not_finite_is_refused() -> None:
    model = models.attached(models.layers(), "0", modules_to_save=("2",))
    with torch.no_grad():
        model[2].bias[0] = math.nan

    with pytest.raises(InvalidAdapterError, match=r"2\.bias: 1 of 8 values are not finite"):
        capture(model)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_a_changed_base_is_refused_by_target(dtype: torch.dtype) -> None:
    model = models.attached(models.layers().to(dtype), "0", "2")
    with torch.no_grad():
        model[2].weight[1, 1] += 0.5

    with pytest.raises(BaseMismatchError, match=r"^2: its base weight is not the one .*; attach"):
        capture(model)


def test_a_base_that_is_trained_beside_the_adapter_is_refused() -> None:
    model = models.attached(models.mixed(), "conv")
    model.norm.requires_grad_()

    with pytest.raises(BaseMismatchError, match=r"norm\.weight: this parameter .*modules_to_save"):
        capture(model)


def test_a_base_that_only_was_cast_is_the_one_it_was() -> None:
    model = models.attached(models.layers(), "0")

    for dtype in (torch.float64, torch.bfloat16):
        prints = capture(model.to(dtype)).entry_sets[0].fingerprints
        assert prints is not None
        assert prints.dtype == {torch.float64: "F64", torch.bfloat16: "BF16"}[dtype]
    with pytest.raises(BaseMismatchError):
        capture(model.to(torch.float32))  # rounded to bfloat16 on the way


@pytest.mark.real
@pytest.mark.filterwarnings("ignore:.is_gradient_checkpointing. is deprecated:FutureWarning")
def test_entries_drawn_as_peft_s_go_back_to_peft(tmp_path: Path) -> None:
    model, ids = models.bert(), models.token_ids()
    models.attached(model, "query", "value", entries=TorchRandperm())
    with torch.no_grad():
        expected = model(ids)[0]

    to_peft(capture(model), tmp_path / "peft")

    theirs = peft.PeftModel.from_pretrained(models.bert(), tmp_path / "peft")
    with torch.no_grad():
        assert torch.allclose(theirs(ids)[0], expected, atol=1e-5)


@pytest.mark.real
@pytest.mark.slow
@pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::FutureWarning")
def test_the_file_merges_into_an_onnx_export_of_the_base(tmp_path: Path) -> None:
    onnxruntime = pytest.importorskip("onnxruntime")
    ids = models.token_ids()
    torch.onnx.export(
        models.bert(),
        (ids,),
        str(tmp_path / "base.onnx"),
        input_names=["ids"],
        output_names=["hidden", "pooled"],
        dynamo=True,
        verbose=False,
    )
    model = models.attached(models.bert(), "query", "dense")
    models.train(model, lambda: model(ids)[0].square().mean())
    fourier_format.save(capture(model), tmp_path / "a.fft")

    to_onnx(fourier_format.load(tmp_path / "a.fft"), tmp_path / "base.onnx", tmp_path / "out.onnx")

    session = onnxruntime.InferenceSession(tmp_path / "out.onnx")
    (found,) = session.run(["hidden"], {"ids": ids.numpy()})
    fresh = merge(load_adapter(models.bert(), tmp_path / "a.fft"))
    with torch.no_grad():
        assert np.allclose(found, model(ids)[0].numpy(), atol=1e-5)
        assert np.allclose(found, fresh(ids)[0].numpy(), atol=1e-5)


def test_running_means_that_training_moved_are_warned_of() -> None:
    torch.manual_seed(0)
    model = torch.nn.Sequential(torch.nn.Conv2d(3, 4, 3), torch.nn.BatchNorm2d(4)).train()
    models.attached(model, "0")
    capture(model)
    with pytest.warns(UserWarning, match="1: its running statistics change"):
        model(torch.randn(2, 3, 5, 5))

    with pytest.warns(
        UserWarning, match=r"^1\.running_mean, 1\.running_var: 2 buffers .*eval mode"
    ):
        capture(model)


def test_a_convolutional_net_in_eval_mode_trains_without_a_warning() -> None:
    torch.manual_seed(0)
    model = torch.nn.Sequential(torch.nn.Conv2d(3, 4, 3), torch.nn.BatchNorm2d(4)).eval()
    models.attached(model, "0")

    models.train(model, lambda: model(torch.ones(2, 3, 5, 5)).square().mean())

    assert capture(model.to(torch.bfloat16)).targets[0].kind == "conv2d"


@pytest.mark.real
@pytest.mark.parametrize("dynamo", [True, False])
@pytest.mark.filterwarnings("ignore")  # the exporters' own
def test_an_export_of_a_model_whose_adapter_is_on_is_refused(dynamo: bool, tmp_path: Path) -> None:
    """Its graph would hold the base's weight beside the delta, which would be added once more."""
    model = models.attached(torch.nn.Sequential(torch.nn.Linear(4, 4)).eval(), "0", init="normal")
    x = (torch.randn(2, 4),)

    with pytest.raises(Exception, match="an adapter is on while the model is exported"):
        torch.onnx.export(model, x, str(tmp_path / "on.onnx"), dynamo=dynamo)

    set_active(model, None)
    torch.onnx.export(model, x, str(tmp_path / "off.onnx"), dynamo=dynamo)
    set_active(model, "default")
    torch.onnx.export(merge(model), x, str(tmp_path / "merged.onnx"), dynamo=dynamo)
