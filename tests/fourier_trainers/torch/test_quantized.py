"""Quantised linears: bitsandbytes on the CPU, torchao where it is installed, torch's refused."""

from __future__ import annotations

import copy
import warnings
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from fourier_format.errors import UnsupportedError
from fourier_trainers.torch import (
    FourierConfig,
    adapter_rows,
    attach,
    capture,
    detach,
    load_adapter,
    merge,
    summary,
)
from fourier_trainers.torch.coefficients import terms_of
from fourier_trainers.torch.quantized import check
from fourier_trainers.torch.spectral import functions
from tests.fourier_trainers.torch import models

SIZES = [(64, 96), (33, 17), (64, 64)]


def four_bit(in_: int = 64, out: int = 96, **more: Any) -> Any:
    bnb = pytest.importorskip("bitsandbytes")
    torch.manual_seed(0)
    linear = nn.Linear(in_, out)
    usual = {"quant_type": "nf4", "compute_dtype": torch.float32}
    layer = bnb.nn.Linear4bit(in_, out, bias=True, **{**usual, **more})
    layer.load_state_dict(linear.state_dict())
    return layer.to("cpu")


def dequantized(layer: Any) -> Tensor:
    bnb = pytest.importorskip("bitsandbytes")
    found: Tensor = bnb.functional.dequantize_4bit(layer.weight.data, layer.weight.quant_state)
    return found.double()


def int8(in_: int = 64, out: int = 96) -> Any:
    quantization = pytest.importorskip("torchao.quantization", reason="torchao is not installed")
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(in_, out))
    quantization.quantize_(model, quantization.Int8WeightOnlyConfig(set_inductor_config=False))
    return model[0]


def nf4(in_: int = 128, out: int = 256) -> Any:
    quantization = pytest.importorskip("torchao.quantization", reason="torchao is not installed")
    torch.manual_seed(0)
    layer = nn.Linear(in_, out)
    packed = quantization.to_nf4(layer.weight.detach())
    layer.weight = nn.Parameter(packed, requires_grad=False)
    return layer


def assert_right(layer: Any, weight: Tensor, in_: int) -> None:
    """Output and both gradients are those of the weight that is meant, in float64."""
    model = models.attached(nn.Sequential(layer), "0", n=20)
    (member,) = layer.fourier.active(("default",))
    coefficients = member.coefficients
    x = torch.randn(5, in_, requires_grad=True)
    g = torch.randn(5, weight.shape[0])

    y = model(x)
    y.backward(g)

    wide = x.detach().double().requires_grad_()
    basis, scaled = terms_of([member], torch.float64)[0]
    scaled = scaled.detach().requires_grad_()
    delta = functions.delta_weight([(basis, scaled)])
    expected = nn.functional.linear(wide, weight + delta, layer.bias.double())
    expected.backward(g.double())
    factor = member.gain * member.alpha * basis.norm
    assert close(y, expected)
    assert close(x.grad, wide.grad)
    assert close(coefficients.grad, None if scaled.grad is None else scaled.grad * factor)


def close(found: Tensor | None, expected: Tensor | None) -> bool:
    assert found is not None
    assert expected is not None
    return bool((found - expected).abs().max() <= 1e-5 * expected.abs().max())


@pytest.mark.parametrize(("in_", "out"), SIZES)
@pytest.mark.parametrize("training", [True, False])
def test_four_bit_layers_give_the_right_output_and_gradients(
    in_: int, out: int, training: bool
) -> None:
    layer = four_bit(in_, out).train(training)

    assert_right(layer, dequantized(layer), in_)


def test_eight_bit_layers_pass_the_proof_and_train() -> None:
    bnb = pytest.importorskip("bitsandbytes")
    torch.manual_seed(0)
    linear = nn.Linear(64, 96)
    layer = bnb.nn.Linear8bitLt(64, 96, has_fp16_weights=False)
    layer.load_state_dict(linear.state_dict())
    model = models.attached(nn.Sequential(layer.to("cpu")), "0", init="zeros")
    x = torch.randn(3, 64, requires_grad=True)

    model(x).sum().backward()

    assert x.grad is not None
    assert torch.allclose(x.grad[0], linear.weight.sum(0), atol=0.05)


def test_torchao_int8_gives_the_right_output_and_gradients() -> None:
    layer = int8()

    assert_right(layer, layer.weight.dequantize().double(), 64)


def test_torchao_nf4_gives_the_right_output_and_gradients() -> None:
    layer = nf4()

    assert_right(layer, layer.weight.get_original_weight().double(), 128)


def test_evaluating_does_not_repack_the_weight_and_training_goes_on() -> None:
    model: Any = nn.Sequential(four_bit())
    x = torch.randn(4, 64)
    model[0].support_avx512bf16_for_cpu = True  # as on a CPU that has it
    models.attached(model, "0")
    packed = model[0].weight.data.clone()
    with torch.no_grad():
        model.eval()(x)
    assert torch.equal(model[0].weight.data, packed)

    x.requires_grad_()
    model.train()(x).sum().backward()

    assert x.grad is not None
    assert model[0].support_avx512bf16_for_cpu is False
    copied = copy.deepcopy(model)
    assert copied[0].support_avx512bf16_for_cpu is False
    detach(model)
    assert model[0].support_avx512bf16_for_cpu is True


def test_attaching_leaves_a_layer_as_it_was() -> None:
    model = nn.Sequential(four_bit(compute_dtype=None))
    model[0].to(torch.bfloat16)
    before = dict(model[0].__dict__)
    dtype = model[0].bias.dtype

    detach(models.attached(model, "0"))

    assert model[0].__dict__ == before
    assert model[0].bias.dtype == dtype


def test_a_layer_that_is_packed_already_is_refused() -> None:
    model: Any = nn.Sequential(four_bit())
    model[0].weight.quant_state.packing_format_for_cpu = True
    classes = type(model[0])

    with pytest.raises(UnsupportedError, match=r"0: bitsandbytes has packed .*; load the model"):
        models.attached(model, "0")

    assert type(model[0]) is classes
    assert all(not hook for hook in (model._forward_hooks, model[0]._forward_hooks))


def test_a_layer_that_is_not_quantised_yet_is_refused() -> None:
    bnb = pytest.importorskip("bitsandbytes")

    with pytest.raises(UnsupportedError, match="0: it is not quantised yet"):
        models.attached(nn.Sequential(bnb.nn.Linear4bit(64, 64)), "0")


def test_float64_without_a_dtype_to_compute_in_is_refused() -> None:
    model = models.attached(nn.Sequential(four_bit(compute_dtype=None)), "0")

    with pytest.raises(UnsupportedError, match=r"float64 input .*set compute_dtype"):
        model(torch.randn(2, 64, dtype=torch.float64))


def test_a_quantised_base_has_no_fingerprint_and_is_not_merged() -> None:
    model = models.attached(nn.Sequential(four_bit(), nn.Linear(96, 4)), "0", "1")

    adapter = capture(model)

    prints = {t.name: adapter.entry_set(t).fingerprints for t in adapter.targets}
    assert prints["0"] is None
    assert prints["1"] is not None
    weight = model[1].weight
    with pytest.raises(UnsupportedError, match=r"^0: its weight is packed or quantised"):
        merge(model)
    assert model[1].weight is weight


def test_an_adapter_of_the_float_model_goes_onto_the_quantised_one() -> None:
    torch.manual_seed(0)
    adapter = capture(models.attached(nn.Sequential(nn.Linear(64, 96)), "0"))
    base = nn.Sequential(four_bit())
    x = torch.randn(3, 64)
    with torch.no_grad():
        plain = base(x)

    model = load_adapter(base, adapter)

    delta = torch.from_numpy(_delta(adapter)).float()
    assert torch.allclose(model(x), plain + x @ delta.T, atol=1e-3)


def _delta(adapter: Any) -> Any:
    from fourier_format import delta_weight

    return delta_weight(adapter, "0")


def test_rows_and_summary_of_a_quantised_layer() -> None:
    model = nn.Sequential(four_bit())
    for name, seed in (("a", 1), ("b", 2)):
        models.attached(model, "0", name=name, seed=seed)
    x = torch.randn(2, 64)

    with adapter_rows(model, ("b", None)):
        y = model(x)

    assert torch.allclose(y[0], model(x)[0], atol=1e-4)
    assert torch.allclose(y[1], detach(model)(x)[1], atol=1e-4)
    assert summary(models.attached(model, "0")).base == 64 * 96 + 96


class WithoutGradient(nn.Linear):
    """What torch's dynamic quantisation does, in small."""

    def forward(self, input: Tensor) -> Tensor:  # noqa: A002 - torch's name
        return super().forward(input.detach())


class HalfGradient(nn.Linear):
    def forward(self, input: Tensor) -> Tensor:  # noqa: A002 - torch's name
        return super().forward(input / 2 + input.detach() / 2)


@pytest.mark.parametrize(
    ("layer", "message"), [(WithoutGradient, "no gradient"), (HalfGradient, "another gradient")]
)
def test_a_layer_with_a_wrong_gradient_is_refused(layer: type[nn.Linear], message: str) -> None:
    with pytest.raises(UnsupportedError, match=rf"up: the .*right gradient \(got {message}"):
        check(layer(8, 4), "up")


def test_the_proof_lets_right_layers_pass_whatever_their_bias() -> None:
    layer = nn.Linear(8, 4).to(torch.bfloat16)
    with torch.no_grad():
        layer.bias.fill_(1000)

    check(layer, "up")


@pytest.mark.parametrize("wanted", [("0",), "all-linear"])
def test_torch_s_own_dynamic_quantisation_is_refused_by_name(wanted: Any) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        model = torch.ao.quantization.quantize_dynamic(models.layers(), {nn.Linear})

    with pytest.raises(
        UnsupportedError, match=r"0: torch's quantised .*no gradient.*dynamic.*Linear\); quantise"
    ):
        attach(model, FourierConfig(target_modules=wanted, n=4))

    assert not model._forward_hooks
